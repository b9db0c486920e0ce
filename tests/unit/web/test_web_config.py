from pathlib import Path
from urllib.parse import urlencode

import pytest
import trustme

from contract.errors import SettingError
from web.config import WebConfig

#: What NERSERVE_MAX_CHARS may say, the same in every part that reads it, and what none of them takes.
RIGHT = {"": 100_000, " \t": 100_000, "1": 1, " 5000 ": 5_000, "0000007": 7, "1000000": 1_000_000}
WRONG = ["0", "-1", "+5", "1000001", "00000001", "1e5", "1_000", "5 000", "\u0663", "\uff15", "many", "9" * 5000]


@pytest.fixture
def certificates(tmp_path):
    """A file with the certificate of an authority."""
    trustme.CA().cert_pem.write_to_path(tmp_path / "authority.pem")
    return tmp_path / "authority.pem"


def test_without_variables_everything_has_its_default():
    assert WebConfig.from_env({"PATH": "/bin"}) == WebConfig()


def test_every_variable_is_read(certificates):
    environ = {
        "NERSERVE_INFERENCE_URL": "https://models.example:8443/ner/",
        "NERSERVE_INFERENCE_KEY_FILE": "not/there/yet",
        "NERSERVE_CA_FILE": str(certificates),
        "NERSERVE_MODELS": "en, bio.v2",
        "NERSERVE_TIMEOUT_S": "2.5",
        "NERSERVE_READY_TIMEOUT_S": "1",
        "NERSERVE_CANARY": "Berlin",
        "NERSERVE_READY_WHEN": "any",
        "NERSERVE_MAX_CHARS": "500",
        "NERSERVE_HOST": "::1",
        "NERSERVE_PORT": "9000",
        "NERSERVE_ALLOWED_HOSTS": "ner.example.org, *.example.net",
        "NERSERVE_WEB_WORKERS": "3",
        "NERSERVE_MAX_IN_FLIGHT": "4",
        "NERSERVE_MAX_LONG_REQUESTS": "3",
        "NERSERVE_MAX_QUEUE": "0",
        "NERSERVE_QUEUE_S": "1.5",
        "NERSERVE_MAX_STREAMS": "2",
        "NERSERVE_CLIENT_TIMEOUT_S": "7",
    }

    config = WebConfig.from_env(environ)

    assert config == WebConfig(
        inference_url="https://models.example:8443/ner",
        inference_key_file=Path("not/there/yet"),
        ca_file=certificates,
        models=("en", "bio.v2"),
        timeout_s=2.5,
        ready_timeout_s=1.0,
        canary="Berlin",
        ready_when="any",
        max_chars=500,
        host="::1",
        port=9000,
        allowed_hosts=("ner.example.org", "*.example.net"),
        num_workers=3,
        max_in_flight=4,
        max_long_requests=3,
        max_queue=0,
        queue_s=1.5,
        max_streams=2,
        client_timeout_s=7.0,
    )


@pytest.mark.parametrize(("value", "max_chars"), RIGHT.items())
def test_the_longest_text_may_have_spaces_around_it_and_a_blank_is_as_good_as_none(value, max_chars):
    assert WebConfig.from_env({"NERSERVE_MAX_CHARS": value}).max_chars == max_chars


@pytest.mark.parametrize("value", WRONG)
def test_what_is_no_longest_text_is_refused_by_its_variable(value):
    with pytest.raises(SettingError, match="NERSERVE_MAX_CHARS: expected "):
        WebConfig.from_env({"NERSERVE_MAX_CHARS": value})


def test_the_port_of_a_kubernetes_service_is_not_the_site_s():
    assert WebConfig.from_env({"NERSERVE_PORT": "tcp://10.0.0.1:80", "NERSERVE_SERVICE_PORT": "80"}) == WebConfig()


def test_the_environment_of_the_process_is_the_default(monkeypatch):
    monkeypatch.setenv("NERSERVE_PORT", "8123")

    assert WebConfig.from_env().port == 8123


@pytest.mark.parametrize(
    ("variable", "value", "shown"),
    [
        ("NERSERVE_INFERENCE_URL", "", "''"),
        ("NERSERVE_INFERENCE_URL", "127.0.0.1:8080", "'127.0.0.1:8080'"),
        ("NERSERVE_INFERENCE_URL", "ftp://host", "'ftp://host'"),
        ("NERSERVE_INFERENCE_URL", "http://", "'http:'"),
        ("NERSERVE_INFERENCE_URL", "http://host:0", "'http://host:0'"),
        ("NERSERVE_INFERENCE_URL", "http://host:99999", "'http://host:99999'"),
        ("NERSERVE_INFERENCE_URL", "http://host?x=1", "'http://host?x=1'"),
        ("NERSERVE_INFERENCE_URL", "http://ho st", "'http://ho st'"),
        ("NERSERVE_INFERENCE_KEY_FILE", "", "''"),
        ("NERSERVE_INFERENCE_KEY_FILE", "/", "'/'"),
        ("NERSERVE_CA_FILE", "", "''"),
        ("NERSERVE_CA_FILE", "/", "'/'"),
        ("NERSERVE_MODELS", "", "''"),
        ("NERSERVE_MODELS", "en,,de", "''"),
        ("NERSERVE_MODELS", "en,../management", "'../management'"),
        ("NERSERVE_MODELS", "en,de,en", "'en,de,en'"),
        ("NERSERVE_TIMEOUT_S", "soon", "'soon'"),
        ("NERSERVE_TIMEOUT_S", "0", "0.0"),
        ("NERSERVE_TIMEOUT_S", "nan", "nan"),
        ("NERSERVE_TIMEOUT_S", "inf", "inf"),
        ("NERSERVE_READY_TIMEOUT_S", "-1", "-1.0"),
        ("NERSERVE_CANARY", "", "''"),
        ("NERSERVE_READY_WHEN", "some", "'some'"),
        ("NERSERVE_MAX_CHARS", "1e4", "'1e4'"),
        ("NERSERVE_MAX_CHARS", "0", "'0'"),
        ("NERSERVE_MAX_CHARS", "1000001", "'1000001'"),
        ("NERSERVE_HOST", "", "''"),
        ("NERSERVE_HOST", "a b", "'a b'"),
        ("NERSERVE_PORT", "", "''"),
        ("NERSERVE_PORT", "http", "'http'"),
        ("NERSERVE_PORT", "65536", "65536"),
        ("NERSERVE_ALLOWED_HOSTS", "", "''"),
        ("NERSERVE_ALLOWED_HOSTS", "ner.example.org:8000", "'ner.example.org:8000'"),
        ("NERSERVE_ALLOWED_HOSTS", "a,.example.org", "'.example.org'"),
        ("NERSERVE_ALLOWED_HOSTS", "http://a", "'http://a'"),
        ("NERSERVE_WEB_WORKERS", "0", "0"),
        ("NERSERVE_MAX_IN_FLIGHT", "2.5", "'2.5'"),
        ("NERSERVE_MAX_IN_FLIGHT", "0", "0"),
        ("NERSERVE_MAX_QUEUE", "-1", "-1"),
        ("NERSERVE_QUEUE_S", "inf", "inf"),
        ("NERSERVE_MAX_STREAMS", "65", "65"),
        ("NERSERVE_CLIENT_TIMEOUT_S", "0", "0.0"),
    ],
)
def test_a_wrong_value_is_refused_with_its_variable_and_value(variable, value, shown):
    with pytest.raises(SettingError) as caught:
        WebConfig.from_env({variable: value})

    assert str(caught.value).startswith(f"{variable}: expected ")
    assert str(caught.value).endswith(f", got {shown}")


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "No such file or directory"), ("", "no certificate in it"), ("hello", "no certificate in it")],
)
def test_certificates_that_cannot_be_used_are_refused_with_the_reason(tmp_path, content, reason):
    path = tmp_path / "authority.pem"
    if content is not None:
        path.write_text(content)

    with pytest.raises(SettingError) as caught:
        WebConfig.from_env({"NERSERVE_CA_FILE": str(path)})

    expected = f"NERSERVE_CA_FILE: expected a file of certificates in PEM form ({reason}), got '{path}'"
    assert str(caught.value) == expected


def test_a_list_without_models_is_refused():
    with pytest.raises(SettingError, match="NERSERVE_MODELS: expected at least one model name"):
        WebConfig(models=())


@pytest.mark.parametrize(
    ("max_chars", "request_bytes"),
    [(1, 1_048_576), (100_000, 1_048_576), (100_001, 1_048_587), (1_000_000, 10_485_760)],
)
def test_bytes_in_a_request_follow_from_characters_in_a_text(max_chars, request_bytes):
    assert WebConfig(max_chars=max_chars).limits.request_bytes == request_bytes


@pytest.mark.parametrize("max_chars", [1, 100_000, 1_000_000])
def test_a_form_may_hold_any_text_within_the_limit(max_chars):
    assert WebConfig(max_chars=max_chars).max_form_bytes > len(urlencode({"text": "😀" * max_chars}))


@pytest.mark.parametrize(
    ("max_chars", "timeout_s", "deadline_s"),
    [(1, None, 10), (100_000, None, 10), (500_000, None, 50), (1_000_000, None, 100), (1_000_000, 5.0, 5)],
)
def test_the_deadline_follows_from_characters_in_a_text_unless_it_is_set(max_chars, timeout_s, deadline_s):
    assert WebConfig(max_chars=max_chars, timeout_s=timeout_s).deadline_s == deadline_s


@pytest.mark.parametrize(("host", "bind"), [("127.0.0.1", "127.0.0.1:8000"), ("::1", "[::1]:8000")])
def test_bind_is_what_gunicorn_wants(host, bind):
    assert WebConfig(host=host).bind == bind
