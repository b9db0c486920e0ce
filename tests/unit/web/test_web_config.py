from pathlib import Path

import pytest
import trustme

from web.config import LARGEST_MAX_CHARS, TORCHSERVE_MAX_BYTES, WebConfig
from web.errors import ConfigError


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
        "NERSERVE_MAX_CHARS": "500",
        "NERSERVE_HOST": "::1",
        "NERSERVE_PORT": "9000",
        "NERSERVE_WEB_WORKERS": "3",
        "NERSERVE_WEB_THREADS": "4",
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
        max_chars=500,
        host="::1",
        port=9000,
        num_workers=3,
        num_threads=4,
    )


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
        ("NERSERVE_MAX_CHARS", "1e4", "'1e4'"),
        ("NERSERVE_MAX_CHARS", "0", "0"),
        ("NERSERVE_MAX_CHARS", "1000000", "1000000"),
        ("NERSERVE_HOST", "", "''"),
        ("NERSERVE_HOST", "a b", "'a b'"),
        ("NERSERVE_PORT", "", "''"),
        ("NERSERVE_PORT", "http", "'http'"),
        ("NERSERVE_PORT", "65536", "65536"),
        ("NERSERVE_WEB_WORKERS", "0", "0"),
        ("NERSERVE_WEB_THREADS", "2.5", "'2.5'"),
    ],
)
def test_a_wrong_value_is_refused_with_its_variable_and_value(variable, value, shown):
    with pytest.raises(ConfigError) as caught:
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

    with pytest.raises(ConfigError) as caught:
        WebConfig.from_env({"NERSERVE_CA_FILE": str(path)})

    expected = f"NERSERVE_CA_FILE: expected a file of certificates in PEM form ({reason}), got '{path}'"
    assert str(caught.value) == expected


def test_a_list_without_models_is_refused():
    with pytest.raises(ConfigError, match="NERSERVE_MODELS: expected at least one model name"):
        WebConfig(models=())


def test_the_largest_body_stays_below_the_limit_of_torchserve():
    assert WebConfig(max_chars=LARGEST_MAX_CHARS).max_body_bytes < TORCHSERVE_MAX_BYTES


@pytest.mark.parametrize(("host", "bind"), [("127.0.0.1", "127.0.0.1:8000"), ("::1", "[::1]:8000")])
def test_bind_is_what_gunicorn_wants(host, bind):
    assert WebConfig(host=host).bind == bind
