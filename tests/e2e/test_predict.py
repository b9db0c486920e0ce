"""``nerserve predict`` and ``nerserve.load`` give what the servers give."""

import subprocess
import sys
from pathlib import Path

import pytest
import requests

import nerserve
from tests.e2e.instance import ANSWER_S

TEXTS = [
    "Kofi Annan was born in Kumasi, and led the United Nations from New York.",
    "",
    "Zoë und Jürgen 😀 flogen mit Lufthansa nach São Paulo — 東京 too.",
    "Ministers met in Nairobi. " * 60,
    'He said "Acme\\Corp" \u2028 <b>Oslo</b>',
]


def predict(*arguments, given):
    command = [Path(sys.executable).parent / "nerserve", "predict", *map(str, arguments)]
    return subprocess.run(command, input=given, capture_output=True, check=False)


@pytest.fixture(scope="module")
def lines():
    return "\n".join(TEXTS).encode()


@pytest.fixture(scope="module")
def local(lines):
    done = predict("--lines", "--json", given=lines)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


@pytest.mark.parametrize("tier", ["site", "inference"])
@pytest.mark.parametrize("path", ["", "{path}"])
def test_a_server_s_answers_are_byte_for_byte_those_of_the_same_model_here(served, local, lines, tier, path):
    path = path.format(path={"site": "/api/predict", "inference": "/predictions/en"}[tier])
    url = f"{getattr(served, tier)}{path}"

    done = predict("--lines", "--json", "--url", url, "--state-dir", served.log_dir, given=lines)

    assert done.stderr == b""
    assert done.stdout == local


def test_every_format_and_option_is_the_same_from_a_server(served, lines):
    for form in ("table", "conll", "displacy"):
        options = ("--lines", "--format", form, "--labels", "PER,LOC", "--threshold", "0.7")
        from_site = predict(*options, "--url", served.site, given=lines)

        assert from_site.returncode == 0
        assert from_site.stdout == predict(*options, given=lines).stdout


def test_python_has_the_numbers_of_the_server_bit_for_bit(served):
    model = nerserve.load("models/en")

    reply = requests.post(f"{served.site}/api/predict", json={"texts": TEXTS}, timeout=ANSWER_S).json()

    assert reply["model"] == {"name": model.name, "version": model.version, "digest": model.digest}
    assert reply["results"] == [
        {"entities": [entity._asdict() for entity in entities]} for entities in model.predict(TEXTS)
    ]


@pytest.mark.parametrize(
    ("options", "status", "problem"),
    [
        (("--url", "{inference}", "--model", "xx"), 6, "no model xx there"),
        (("--url", "{site}", "--model", "xx"), 6, "no model xx there"),
        (("--url", "{inference}", "--state-dir", "none"), 7, "the key is missing, wrong or expired"),
        (("--url", "{site}", "--labels", "FOO"), 2, 'Expected some of LOC, MISC, ORG, PER for "labels"'),
        (("--url", "{inference}", "--labels", "FOO"), 2, 'Expected some of LOC, MISC, ORG, PER for "labels"'),
        (("--url", "{metrics}"), 2, "is TorchServe's metrics port; expected the site or"),
        (("--url", "http://127.0.0.1:9"), 10, "nothing listens at http://127.0.0.1:9"),
        (("--url", "{site}", "--model", "models/en"), 2, "--model: expected the name of a model"),
    ],
)
def test_what_a_server_refuses_has_the_status_of_its_cause(served, tmp_path, options, status, problem):
    options = [option.format(**served._asdict()) for option in options]
    if "--state-dir" not in options:
        options += ["--state-dir", served.log_dir]

    done = predict("Oslo", *options, given=b"")

    assert done.returncode == status
    assert problem in done.stderr.decode()
    assert done.stdout == b""


def test_one_text_that_a_server_refuses_spoils_no_other(served):
    given = b"Kofi Annan spoke.\n" + b"x" * 100_001 + b"\n\xff\nShe met Angela Merkel."

    from_site, here = (
        predict("--lines", "--json", *options, given=given)
        for options in (("--url", served.site), ("--model", "models/en"))
    )

    assert from_site.returncode == here.returncode == 2
    assert from_site.stdout == here.stdout
    assert from_site.stderr == here.stderr
    assert len(here.stdout.splitlines()) == 4
