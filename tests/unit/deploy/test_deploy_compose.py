"""What docker-compose.yml promises: nothing but the site can be reached, and no container can do more than it must."""

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
SERVICES = ("serve", "site")


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_hardened_limited_and_restarted(compose, name):
    service = compose["services"][name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"] == "10001:10001"
    assert service["restart"] == "unless-stopped"
    assert {"cpus", "memory", "pids"} <= set(service["deploy"]["resources"]["limits"])
    assert {"max-size", "max-file"} <= set(service["logging"]["options"])
    assert not {"privileged", "volumes", "cap_add", "network_mode", "pid"} & set(service)


def test_only_the_site_is_published_and_only_on_loopback(compose):
    assert [name for name in SERVICES if "ports" in compose["services"][name]] == ["site"]
    assert compose["services"]["site"]["ports"] == ["${NERSERVE_PUBLISH:-127.0.0.1:8000}:8000"]


def test_torchserve_is_on_a_network_without_a_way_out(compose):
    assert compose["services"]["serve"]["networks"] == ["inside"]
    assert compose["networks"]["inside"]["internal"] is True


@pytest.mark.parametrize(("name", "file"), [("serve", "Dockerfile.serve"), ("site", "Dockerfile.web")])
def test_the_health_check_is_the_images_own_and_means_an_answer(compose, name, file):
    text = (ROOT / file).read_text(encoding="utf-8")

    assert "healthcheck" not in compose["services"][name]
    assert f'CMD ["python", "/app/deploy/healthcheck.py", "{name}"]' in text


@pytest.mark.parametrize(("name", "drain_s"), [("serve", 200 + 1 + 10), ("site", 100 + 2)])
def test_there_is_time_to_drain_with_the_longest_texts(compose, name, drain_s):
    grace_s = int(compose["services"][name]["stop_grace_period"].removesuffix("s"))

    assert grace_s > drain_s


def test_keys_are_shared_in_memory_and_the_site_cannot_change_them():
    override = yaml.safe_load((ROOT / "deploy" / "keys.yml").read_text(encoding="utf-8"))
    serve, site = override["services"]["serve"], override["services"]["site"]

    assert serve["command"][-4:] == [
        "--config",
        "/app/deploy/serve-with-keys.properties",
        "--inference-key-file",
        "/shared/inference.key",
    ]
    assert (serve["volumes"], site["volumes"]) == (["keys:/shared"], ["keys:/shared:ro"])
    assert site["environment"] == {"NERSERVE_INFERENCE_KEY_FILE": "/shared/inference.key"}
    assert override["volumes"]["keys"]["driver_opts"]["type"] == "tmpfs"


@pytest.mark.parametrize("file", ["Dockerfile.serve", "Dockerfile.web"])
def test_both_images_start_from_the_same_exact_python(file):
    text = (ROOT / file).read_text(encoding="utf-8")

    assert text.count("ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm\n") == 1
    assert {line for line in text.splitlines() if line.startswith("FROM python")} == set()


def test_one_variable_limits_both_containers(compose):
    limits = [compose["services"][name]["environment"]["NERSERVE_MAX_CHARS"] for name in SERVICES]

    assert limits == ["${NERSERVE_MAX_CHARS:-100000}"] * 2
