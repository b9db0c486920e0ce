import ipaddress
import os
import resource
import socket

import pytest

from ops.errors import PortBusyError
from ops.process.addresses import Address
from ops.process.ports import check_ports

EVERYWHERE = str(ipaddress.IPv4Address(0))


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_free_ports_pass(listener):
    port = listener.getsockname()[1]
    listener.close()

    assert check_ports([Address("127.0.0.1", port, "a")]) is None


@pytest.mark.parametrize("host", ["127.0.0.1", EVERYWHERE])
def test_a_port_that_is_taken_is_named_with_its_owner_and_its_setting(listener, host):
    port = listener.getsockname()[1]

    with pytest.raises(PortBusyError) as caught:
        check_ports([Address(host, port, "metrics_address")])

    assert f"port {port} on {host} is taken by" in str(caught.value)
    assert f"(pid {os.getpid()})" in str(caught.value)
    assert str(caught.value).endswith("choose another port with metrics_address, or others with --port-base")
    assert caught.value.exit_status == 3


def test_a_port_that_follows_from_a_base_is_changed_with_it(listener):
    port = listener.getsockname()[1]

    with pytest.raises(PortBusyError, match=r"choose another --port-base$"):
        check_ports([Address("127.0.0.1", port, "metrics_address")], has_base=True)


def test_a_port_whose_last_connection_still_lingers_is_free(listener):
    port = listener.getsockname()[1]
    client = socket.create_connection(("127.0.0.1", port))
    server_side = listener.accept()[0]
    server_side.close()  # first to close: TIME_WAIT is on our side
    client.close()
    listener.close()

    assert check_ports([Address("127.0.0.1", port, "a")]) is None


def test_an_address_of_another_machine_is_named():
    with pytest.raises(PortBusyError, match=r"cannot listen on 192\.0\.2\.1:8080 .*inference_address"):
        check_ports([Address("192.0.2.1", 8080, "inference_address")])


def test_an_address_family_that_is_not_there_is_named():
    # As on a kernel without IPv6: the socket itself cannot be made, here because no file may be opened.
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        with pytest.raises(PortBusyError, match=r"cannot listen on ::1:8000 .*--port"):
            check_ports([Address("::1", 8000, "--port")])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_one_port_for_two_is_named(listener):
    port = listener.getsockname()[1]
    listener.close()

    with pytest.raises(PortBusyError, match=f"port {port} is asked for twice: by a and by b"):
        check_ports([Address("127.0.0.1", port, "a"), Address("127.0.0.1", port, "b")])
