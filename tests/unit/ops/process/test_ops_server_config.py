import contextlib
import ipaddress
import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from contract.limits import RequestLimits
from ops.errors import ConfigFileError
from ops.process.addresses import Address
from ops.process.properties import format_properties, parse_properties
from ops.process.server_config import ServerConfig

ROOT = Path(__file__).parents[4]
EVERYWHERE = str(ipaddress.IPv4Address(0))


@pytest.fixture
def load(tmp_path):
    def load(text, **options):
        path = tmp_path / "config.properties"
        path.write_bytes(text.encode("iso-8859-1"))
        return ServerConfig.load(path, **options)

    return load


def test_an_empty_file_means_torchserves_own_defaults(load):
    config = load("")

    assert [(one.host, one.port) for one in config.addresses] == [
        ("127.0.0.1", port) for port in (8080, 8081, 8082, 7070, 7071)
    ]
    assert config.has_token_authorization
    assert config.key_life_s == 3600
    assert config.certificate is None
    assert config.jvm_options == ()


def test_every_port_follows_from_a_base(load, tmp_path):
    (tmp_path / "keystore").touch()
    text = "inference_address=https://localhost:8443\nmanagement_address=http://127.0.0.2:1\ngrpc_management_port=0\n"

    config = load(f"{text}keystore={tmp_path / 'keystore'}\n", port_base=18000)

    assert [one.port for one in config.addresses] == [18080, 18081, 18082, 18070, 18071]
    assert config.inference.url == "https://localhost:18080"
    assert config.management.url == "http://127.0.0.2:18081"
    assert parse_properties(format_properties(config.settings)) | {
        "inference_address": "https://localhost:18080",
        "management_address": "http://127.0.0.2:18081",
        "metrics_address": "http://127.0.0.1:18082",
        "grpc_inference_port": "18070",
        "grpc_management_port": "18071",
    } == dict(config.settings)


def test_the_default_ports_are_those_of_base_8000_but_for_grpc(load):
    assert [one.port for one in load("", port_base=8000).addresses][:3] == [one.port for one in load("").addresses][:3]


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
        ("inference_address", "ftp://127.0.0.1:8443"),
        ("inference_address", "unix:/tmp/socket"),
        ("management_address", "http://127.0.0.1"),
        ("management_address", "http://127.0.0.1:0"),
        ("metrics_address", "http://127.0.0.1:66000"),
        ("metrics_address", "127.0.0.1:8082"),
        ("metrics_address", "http://127.0.0.1:8082/metrics"),
        ("metrics_address", "http://127.0.0.1:8082/"),
        ("metrics_address", "http://127.0.0.1:8082 "),
        ("inference_address", "http://127.0.0.1:65535"),  # TorchServe takes none above 65534
        ("inference_address", "http://[::1]:8080"),
        ("inference_address", "http://127.0.0.1:\xb2"),
        ("grpc_inference_port", "70000"),
        ("grpc_management_port", "any"),
        ("grpc_management_port", "7071 "),
    ],
)
def test_an_address_that_cannot_be_served_is_named(load, setting, value):
    with pytest.raises(ConfigFileError, match=f"{setting}: expected .* got '{re.escape(value)}'") as caught:
        load(f"{setting}={value}")

    assert caught.value.exit_status == 2


@pytest.fixture
def tls_files(tmp_path):
    """A certificate and its key, as far as anyone looks at them before TorchServe does."""
    files = {name: tmp_path / f"{name}.pem" for name in ("private_key_file", "certificate_file", "keystore")}
    for file in files.values():
        file.write_text("")
    files["private_key_file"].write_text("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\n")
    return files


def pem_of(key, form):
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
ELLIPTIC = ec.generate_private_key(ec.SECP256R1())
LOCKED = RSA.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"password")
).decode()


@pytest.mark.parametrize(
    ("pem", "is_taken"),
    [
        pytest.param(pem_of(RSA, serialization.PrivateFormat.PKCS8), True, id="RSA, PKCS 8"),
        pytest.param(pem_of(RSA, serialization.PrivateFormat.TraditionalOpenSSL), True, id="RSA, OpenSSL"),
        pytest.param(pem_of(ELLIPTIC, serialization.PrivateFormat.PKCS8), False, id="elliptic, PKCS 8"),
        pytest.param(pem_of(ELLIPTIC, serialization.PrivateFormat.TraditionalOpenSSL), False, id="elliptic, OpenSSL"),
        pytest.param(LOCKED, False, id="with a password"),
        pytest.param("-----BEGIN PRIVATE KEY-----\nA\n-----END PRIVATE KEY-----", False, id="no base64"),
        pytest.param("", False, id="empty"),
    ],
)
def test_a_private_key_that_torchserve_does_not_take_is_refused(load, tls_files, pem, is_taken):
    tls_files["private_key_file"].write_text(pem)
    settings = "inference_address=https://127.0.0.1:8443\n" + "".join(
        f"{key}={tls_files[key]}\n" for key in ("private_key_file", "certificate_file")
    )

    with contextlib.nullcontext() if is_taken else pytest.raises(ConfigFileError, match="expected an RSA key"):
        load(settings)


def test_https_is_understood_with_a_certificate(load, tls_files):
    config = load(
        "inference_address=https://127.0.0.1:8443\n"
        f"private_key_file={tls_files['private_key_file']}\ncertificate_file={tls_files['certificate_file']}"
    )

    assert config.inference.url == "https://127.0.0.1:8443"
    assert [one.has_tls for one in (config.inference, config.management, config.metrics)] == [True, False, False]
    assert config.certificate == tls_files["certificate_file"]


def test_https_is_understood_with_a_keystore(load, tls_files):
    config = load(f"management_address=https://127.0.0.1:8444\nkeystore={tls_files['keystore']}")

    assert config.management.url == "https://127.0.0.1:8444"
    assert config.certificate is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("", "private_key_file is missing: https needs it, or a keystore"),
        ("private_key_file={private_key_file}", "certificate_file is missing"),
        ("private_key_file=key.pem\ncertificate_file={certificate_file}", "expected an absolute path, got 'key.pem'"),
        ("private_key_file={private_key_file}\ncertificate_file=/nowhere", "expected a file that can be read"),
        ("keystore=/nowhere", "keystore: expected a file that can be read, got '/nowhere'"),
    ],
)
def test_https_without_a_certificate_is_refused(load, tls_files, settings, message):
    with pytest.raises(ConfigFileError, match=message):
        load("inference_address=https://127.0.0.1:8443\n" + settings.format(**tls_files))


@pytest.mark.parametrize(
    ("minutes", "life_s"), [("60", 3600), ("0.1", 6), ("1.999", 119), ("1e3", 60_000), (".5 ", 30)]
)
def test_the_life_of_a_key_is_counted_as_torchserve_counts_it(load, minutes, life_s):
    assert load(f"token_expiration_min={minutes}").key_life_s == life_s


@pytest.mark.parametrize("minutes", ["0", "-5", "0.05", "soon", "nan", "inf", "", "1_0", "60 min"])
def test_keys_that_nobody_could_use_are_refused(load, minutes):
    with pytest.raises(ConfigFileError, match=f"token_expiration_min: expected minutes.* got '{minutes}'"):
        load(f"token_expiration_min={minutes}")


@pytest.mark.parametrize("text", ["", "max_request_size=1048576", "max_request_size=2097152"])
def test_torchserve_is_given_sizes_that_follow_from_the_longest_text(load, text):
    settings = load(text, limits=RequestLimits(200_000)).settings

    assert settings == {"max_request_size": "2097152", "max_response_size": "13107000"}


@pytest.mark.parametrize("value", ["7", "1048577"])
def test_a_longest_body_that_does_not_follow_from_the_longest_text_is_refused(load, value):
    with pytest.raises(ConfigFileError, match=f"max_request_size: expected 2097152, which follows .* got {value}; lea"):
        load(f"max_request_size={value}", limits=RequestLimits(200_000))


@pytest.mark.parametrize("value", ["0", "-1", "1e6", "1 MB", "2147483648", "", "\xb2", "1048576 ", "+1048576"])
def test_a_longest_body_that_torchserve_does_not_take_is_refused(load, value):
    with pytest.raises(ConfigFileError, match="max_request_size: expected a number of bytes, got"):
        load(f"max_request_size={value}")


def test_metrics_are_defined_beside_the_settings_or_where_they_say(load, tmp_path):
    (tmp_path / "mine.yaml").touch()

    assert "metrics_config" not in load("").settings
    assert load("metrics_config=mine.yaml").settings["metrics_config"] == f"{tmp_path}/mine.yaml"
    assert load(f"metrics_config={tmp_path}/mine.yaml").settings["metrics_config"] == f"{tmp_path}/mine.yaml"
    with pytest.raises(ConfigFileError, match=r"metrics_config: expected a file .*nowhere\.yaml"):
        load("metrics_config=nowhere.yaml")


def test_grpc_speaks_tls_when_told_to_and_has_a_certificate(load, tls_files):
    files = "".join(f"{key}={tls_files[key]}\n" for key in ("private_key_file", "certificate_file"))

    with pytest.raises(ConfigFileError, match="private_key_file: enable_grpc_ssl needs the key in PKCS 8 form"):
        load(f"enable_grpc_ssl=true\n{files}")
    tls_files["private_key_file"].write_text(pem_of(RSA, serialization.PrivateFormat.PKCS8))
    config = load(f"enable_grpc_ssl=true\n{files}")

    assert [one.has_tls for one in config.grpc] == [True, True]
    assert not config.inference.has_tls
    assert config.certificate == tls_files["certificate_file"]
    with pytest.raises(ConfigFileError, match="private_key_file is missing: enable_grpc_ssl needs it"):
        load(f"enable_grpc_ssl=true\nkeystore={tls_files['keystore']}")


def test_a_grpc_client_is_told_host_and_port(load):
    assert load("").grpc_inference.target == "127.0.0.1:7070"
    assert load("grpc_inference_address=::1").grpc_inference.target == "[::1]:7070"


def test_our_settings_win_and_the_others_are_passed_on_as_they_are(load):
    text = "python=C\\:\\\\x\nmodels=$$HOME$$\nmax_request_size=1048576"

    assert load(text, limits=RequestLimits(200_000)).settings == {
        "python": "C:\\x", "models": "$$HOME$$", "max_request_size": "2097152", "max_response_size": "13107000",
    }  # fmt: skip


@pytest.mark.parametrize(("value", "asks"), [("true", False), ("TRUE", False), ("False", True)])
def test_tokens_are_off_only_where_they_are_for_torchserve(load, value, asks):
    assert load(f"disable_token_authorization={value}").has_token_authorization is asks


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("max_reqest_size=1", "max_reqest_size: unknown setting; the nearest known one is max_request_size"),
        ("Job_Queue_Size=1", "Job_Queue_Size: unknown setting; the nearest known one is job_queue_size"),
        ("vm_args=-Xmx1g", "vm_args: unknown setting; the nearest known one is vmargs"),
        ("\ufeffpython=x".encode().decode("iso-8859-1"), "ï»¿python: unknown setting; the nearest known one is python"),
        ("a\\nb=1", r"'a\nb': unknown setting; the nearest known one is "),
        ("job_queue_size 100=", "job_queue_size: expected a whole number from 1 to 2147483647, got '100='"),
        ("job_queue_size=0", "job_queue_size: expected a whole number from 1 to 2147483647, got '0'"),
        ("netty_client_threads=many", "netty_client_threads: expected a whole number from 0 to 2147483647, got 'many'"),
        ("max_response_size=1e6", "max_response_size: expected a whole number from 0 to 2147483647, got '1e6'"),
        ("enable_model_api=ture", "enable_model_api: expected true or false, got 'ture'"),
        ("disable_token_authorization=true ", "disable_token_authorization: expected true or false, got 'true '"),
        ("decode_input_request=$$NO$$", "decode_input_request: expected true or false, got 'no'"),
        ("metrics_mode=Prometeus", "metrics_mode: expected one of log, prometheus, legacy, got 'Prometeus'"),
    ],
)
def test_what_torchserve_would_not_take_or_not_notice_is_named(load, tmp_path, line, problem):
    with pytest.raises(ConfigFileError) as caught:
        load(line, environ={"NO": "no"})

    assert str(caught.value).startswith(f"{tmp_path}/config.properties: {problem}")
    assert "\n" not in str(caught.value)


def test_the_largest_and_the_least_are_taken(load):
    text = "grpc_inference_max_connection_age_ms=9223372036854775807\njob_queue_size=1\nnumber_of_gpu=0\ndebug=FALSE"

    assert load(text).settings["number_of_gpu"] == "0"


def test_a_variable_of_torchserve_s_environment_may_be_in_a_value(load):
    text = "inference_address=http://$$BIND$$:8080\ngrpc_inference_port=$$BIND$$1"

    config = load(text.partition("\n")[0], environ={"BIND": "127.0.0.7"})

    assert config.inference.url == "http://127.0.0.7:8080"
    with pytest.raises(ConfigFileError, match=r"grpc_inference_port: expected a port .*, got '127\.0\.0\.71'"):
        load(text, environ={"BIND": "127.0.0.7"})
    with pytest.raises(ConfigFileError, match="inference_address: TorchServe's environment has no variable BIND"):
        load(text, environ={})


def test_an_escape_that_java_refuses_is_named(load):
    with pytest.raises(ConfigFileError, match=r"config\.properties cannot be read: .*\\u00x"):
        load("python=\\u00x")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigFileError, match=r"nowhere\.properties does not exist"):
        ServerConfig.load(tmp_path / "nowhere.properties")


def test_ours_opens_nothing_but_loopback():
    config = ServerConfig.load(ROOT / "config.properties")

    assert [(one.port, one.is_loopback) for one in config.addresses] == [
        (8080, True), (8081, True), (8082, True), (7070, True),
    ]  # fmt: skip
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
        ("enable_model_api", "true"),
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
