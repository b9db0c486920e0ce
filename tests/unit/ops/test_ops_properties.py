import ipaddress
from pathlib import Path

import pytest

from ops.errors import ConfigFileError
from ops.properties import Address, ServerConfig, parse_properties

ROOT = Path(__file__).parents[3]
EVERYWHERE = str(ipaddress.IPv4Address(0))


@pytest.fixture
def load(tmp_path):
    def load(text):
        path = tmp_path / "config.properties"
        path.write_text(text)
        return ServerConfig.load(path)

    return load


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("", {}),
        ("# a=1\n! b=2\n\n", {}),
        ("a=1\na=2", {"a": "2"}),
        ("  a =  b c  ", {"a": "b c"}),
        ("a: http://x:1", {"a": "http://x:1"}),
        ("url=http://x:1?y=z", {"url": "http://x:1?y=z"}),
        ("vmargs=-Xmx1g \\\n    -Xms1g\nb=2", {"vmargs": "-Xmx1g -Xms1g", "b": "2"}),
        ("pattern=a\\\\.b", {"pattern": "a\\.b"}),
        ("a=", {"a": ""}),
        ("a", {"a": ""}),
    ],
)
def test_properties_are_read_as_java_reads_them(text, settings):
    assert parse_properties(text) == settings


def test_an_empty_file_means_torchserves_own_defaults(load):
    config = load("")

    assert [(one.host, one.port) for one in config.addresses] == [
        ("127.0.0.1", port) for port in (8080, 8081, 8082, 7070, 7071)
    ]
    assert config.has_token_authorization
    assert config.jvm_options == ()


def test_addresses_and_jvm_options_are_found(load):
    config = load(
        f"inference_address=http://{EVERYWHERE}:80\nmetrics_address=http://localhost:9\ngrpc_inference_port=0\n"
        "grpc_management_address=127.0.0.2\ndisable_token_authorization=true\nvmargs=-Xmx1g  -Xms1g"
    )

    assert config.inference == Address(EVERYWHERE, 80, "inference_address")
    assert config.inference.url == "http://127.0.0.1:80"
    assert [one.is_loopback for one in config.addresses] == [False, True, True, True]
    assert [one.setting for one in config.addresses][-1] == "grpc_management_port"
    assert config.grpc[1].host == "127.0.0.2"
    assert not config.has_token_authorization
    assert config.jvm_options == ("-Xmx1g", "-Xms1g")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("inference_address", "https://127.0.0.1:8443"),
        ("inference_address", "unix:/tmp/socket"),
        ("management_address", "http://127.0.0.1"),
        ("management_address", "http://127.0.0.1:0"),
        ("metrics_address", "http://127.0.0.1:66000"),
        ("metrics_address", "127.0.0.1:8082"),
        ("metrics_address", "http://127.0.0.1:8082/metrics"),
        ("grpc_inference_port", "70000"),
        ("grpc_management_port", "any"),
    ],
)
def test_an_address_that_cannot_be_served_is_named(load, setting, value):
    with pytest.raises(ConfigFileError, match=f"{setting}: expected .* got '{value}'") as caught:
        load(f"{setting}={value}")

    assert caught.value.exit_code == 2


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigFileError, match=r"nowhere\.properties does not exist"):
        ServerConfig.load(tmp_path / "nowhere.properties")


def test_ours_opens_nothing_but_loopback():
    config = ServerConfig.load(ROOT / "config.properties")

    assert [(one.port, one.is_loopback) for one in config.addresses] == [(8080, True), (8081, True), (8082, True)]
    assert all(one.is_loopback for one in config.grpc)


def test_ours_gives_a_reason_for_every_setting():
    blocks = (ROOT / "config.properties").read_text().strip().split("\n\n")
    lines = [block.splitlines() for block in blocks]

    assert lines[0][0].startswith("#")
    assert [block for block in lines[1:] if len(block) < 2 or "=" not in block[-1]] == []
    assert [line for block in lines for line in block[:-1] if not line.startswith("# ")] == []


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("metrics_mode", "prometheus"),
        ("max_request_size", "1048576"),
        ("enable_model_api", "false"),
        ("decode_input_request", "false"),
        ("install_py_dep_per_model", "false"),
        ("disable_system_metrics", "true"),
    ],
)
def test_ours_says_what_the_other_parts_rely_on(setting, value):
    assert parse_properties((ROOT / "config.properties").read_text())[setting] == value


@pytest.mark.parametrize("setting", ["load_models", "models", "model_snapshot", "cors_allowed_origin", "batch_size"])
def test_ours_leaves_alone_what_stands_elsewhere_or_nowhere(setting):
    assert setting not in parse_properties((ROOT / "config.properties").read_text())
