import pytest

from contract import settings
from contract.errors import SettingError
from contract.limits import RequestLimits
from contract.settings import NAMES, own_settings, read_settings

#: What kubelet sets in every container of a namespace with the Services "nerserve" and "nerserve-site" (its
#: documentation, "Accessing the Service": one Service with a named port, one with two protocols).
KUBERNETES = {
    "NERSERVE_SERVICE_HOST": "10.0.162.149",
    "NERSERVE_SERVICE_PORT": "8000",
    "NERSERVE_SERVICE_PORT_HTTP": "8000",
    "NERSERVE_PORT": "tcp://10.0.162.149:8000",
    "NERSERVE_PORT_8000_TCP": "tcp://10.0.162.149:8000",
    "NERSERVE_PORT_8000_TCP_PROTO": "tcp",
    "NERSERVE_PORT_8000_TCP_PORT": "8000",
    "NERSERVE_PORT_8000_TCP_ADDR": "10.0.162.149",
    "NERSERVE_SITE_SERVICE_HOST": "10.0.162.150",
    "NERSERVE_SITE_PORT": "udp://10.0.162.150:53",
    "NERSERVE_SITE_PORT_53_UDP_ADDR": "10.0.162.150",
}


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("NERSERVE_MAX_CHAR", "NERSERVE_MAX_CHARS"),
        ("NERSERVE_TIMEOUT", "NERSERVE_TIMEOUT_S"),
        ("NERSERVE_WORKERS", "NERSERVE_WEB_WORKERS"),
        ("NERSERVE_INFERENCE_ADDRESS", "NERSERVE_INFERENCE_KEY"),
        ("NERSERVE_MODEL", "NERSERVE_MODELS"),
        ("NERSERVE_MAX_STEAMS", "NERSERVE_MAX_STREAMS"),
        ("nerserve_port", "NERSERVE_PORT"),
        ("NERSERVE_WEB_PORT", "NERSERVE_PORT"),  # a Service's would be an address
        ("NERSERVE_PORT_NUMBER", "NERSERVE_PORT"),
    ],
)
def test_a_name_that_nobody_reads_is_named_with_the_nearest_setting_and_without_its_value(name, nearest):
    with pytest.raises(SettingError) as caught:
        read_settings({name: "31415", "HOME": "/root"})

    assert str(caught.value) == f"{name}: unknown setting; the nearest known one is {nearest}"


def test_a_name_that_was_a_setting_once_says_what_to_do(monkeypatch):
    monkeypatch.setitem(settings.REMOVED, "NERSERVE_PORT_S", "set NERSERVE_PORT")

    with pytest.raises(SettingError, match=r"^NERSERVE_PORT_S: no longer used; set NERSERVE_PORT$"):
        read_settings({"NERSERVE_PORT_S": "1"})
    assert NAMES.isdisjoint(settings.REMOVED)


def test_all_unknown_names_are_said_in_one_line():
    with pytest.raises(SettingError) as caught:
        read_settings({"NERSERVE_B\n": "1", "NERSERVE_A": "1", "NERSERVE_PORT": "80"})

    message = str(caught.value)
    assert message.startswith("NERSERVE_A: unknown setting;")
    assert "; 'NERSERVE_B\\n': unknown setting;" in message
    assert "\n" not in message


def test_what_kubernetes_sets_is_neither_a_setting_nor_an_error():
    assert read_settings(KUBERNETES | {"NERSERVE_MODELS": "en", "PATH": "/bin"}) == {"NERSERVE_MODELS": "en"}
    assert own_settings(KUBERNETES) == {}


def test_a_port_of_ours_is_one():
    assert own_settings({"NERSERVE_PORT": "8000"}) == {"NERSERVE_PORT": "8000"}


def test_every_known_name_is_taken():
    assert read_settings(dict.fromkeys(NAMES, "x")).keys() == NAMES


def test_the_limits_are_not_read_beside_a_name_that_is_none():
    with pytest.raises(SettingError, match="NERSERVE_MAX_CHAR: unknown setting; the nearest known one is "):
        RequestLimits.from_environment({"NERSERVE_MAX_CHAR": "5000"})
