"""The image's settings are config.properties, but for the one address that the site's container must reach."""

from pathlib import Path

from ops.properties import ServerConfig, parse_properties

ROOT = Path(__file__).parents[3]
SERVE = ROOT / "deploy" / "serve.properties"


def test_the_image_differs_from_config_properties_in_the_inference_address_alone():
    usual = parse_properties((ROOT / "config.properties").read_text(encoding="utf-8"))
    image = parse_properties(SERVE.read_text(encoding="utf-8"))

    assert image == usual | {"inference_address": "http://0.0.0.0:8080"}


def test_only_inference_leaves_the_container():
    config = ServerConfig.load(SERVE)

    assert [address.setting for address in config.addresses if not address.is_loopback] == ["inference_address"]
