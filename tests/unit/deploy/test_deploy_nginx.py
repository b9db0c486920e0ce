"""deploy/nginx.conf agrees with the site behind it; tests/drills/test_nginx.py runs it."""

import json
import re
from pathlib import Path

import contract.errors
from web.config import WebConfig

ROOT = Path(__file__).parents[3]
CONF = (ROOT / "deploy" / "nginx.conf").read_text(encoding="utf-8")


def value(setting):
    """The first value of *setting* in the file."""
    return re.search(rf"(?m)^ *{setting} ([^;]+);", CONF)[1]


def test_it_passes_on_every_header_that_the_site_reads():
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "web").rglob("*.py"))
    read = {name.replace("_", "-").title() for name in re.findall(r"\bHTTP_([A-Z_]+)", sources)}
    passed_on = set(re.findall(r"proxy_set_header ([A-Za-z-]+) [^\"]", CONF))

    assert {"Content-Encoding", "X-Request-Id", "X-Request-Timeout"} <= read
    assert read - passed_on <= {"Transfer-Encoding"}  # which is between nginx and the site


def test_its_limits_are_a_little_above_the_site_s():
    config = WebConfig()

    assert (
        config.max_form_bytes < int(value("client_max_body_size").removesuffix("k")) * 1024 < 2 * config.max_form_bytes
    )
    assert config.deadline_s < int(value("proxy_read_timeout").removesuffix("s")) < 2 * config.deadline_s


def test_what_it_refuses_has_the_codes_and_statuses_of_the_contract():
    known = {(error.status, error.code, error.retry_after_s) for error in contract.errors.documented("site")}
    answers = re.findall(r"(?:add_header Retry-After (\d+) always;\s+)?return (\d+) '(\{.*\})';", CONF)

    said = {
        (int(status), json.loads(body)["error"]["code"], int(seconds) if seconds else None)
        for seconds, status, body in answers
    }
    assert len(said) == 3
    assert said <= known
