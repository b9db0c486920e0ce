"""The image's settings are config.properties, but for keys, a path, and the address that the site's container needs."""

import re
import subprocess
from pathlib import Path

from ops.process.properties import parse_properties
from ops.process.server_config import ServerConfig

ROOT = Path(__file__).parents[3]
SERVE = ROOT / "deploy" / "serve.properties"


def test_the_image_differs_from_config_properties_in_the_inference_address_the_way_to_the_metrics_and_keys():
    usual = parse_properties((ROOT / "config.properties").read_text(encoding="utf-8"))
    image = parse_properties(SERVE.read_text(encoding="utf-8"))

    assert image == usual | {
        "inference_address": "http://0.0.0.0:8080",
        "metrics_config": "../metrics.yaml",
        "disable_token_authorization": "true",
    }


def test_the_image_has_the_metrics_where_its_settings_say():
    assert "COPY metrics.yaml /app/\n" in (ROOT / "Dockerfile.serve").read_text(encoding="utf-8")
    assert Path(ServerConfig.load(SERVE).settings["metrics_config"]).resolve() == ROOT / "metrics.yaml"


def test_only_inference_leaves_the_container():
    config = ServerConfig.load(SERVE)

    assert [address.setting for address in config.addresses if not address.is_loopback] == ["inference_address"]


def test_the_settings_for_keys_differ_in_nothing_but_keys():
    (expression,) = re.findall(r"RUN sed '([^']+)' ", (ROOT / "Dockerfile.serve").read_text(encoding="utf-8"))

    changed = subprocess.run(["sed", expression, SERVE], capture_output=True, text=True, check=True).stdout

    image = parse_properties(SERVE.read_text(encoding="utf-8"))
    assert parse_properties(changed) == image | {"disable_token_authorization": "false"}
