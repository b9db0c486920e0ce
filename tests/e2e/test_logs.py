"""The logs of a running nerserve: JSON a line, and a request is found in both tiers by its id."""

import json
import time
import uuid

import requests

LOGS = ("model_log.log", "access_log.log", "ts_log.log")


def lines_of(served, name):
    """The whole lines of one log, parsed."""
    text = (served.log_dir / "logs" / name).read_text()
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def lines_with(served, name, mark):
    """Those lines that hold *mark*, once there are any: both tiers write them after the answer."""
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        found = [line for line in lines_of(served, name) if mark in json.dumps(line)]
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{name} has no line with {mark}")


def test_a_request_is_found_in_both_tiers_by_its_id(served):
    mark = f"test-{uuid.uuid4()}"

    reply = requests.post(
        f"{served.site}/api/predict", json={"text": "Paris"}, headers={"X-Request-Id": mark}, timeout=60
    )

    assert reply.headers["X-Request-Id"] == mark
    (batch,) = lines_with(served, "model_log.log", mark)
    (asked,) = [one for one in batch["requests"] if one["id"] == mark]
    assert (asked["status"], asked["texts"], asked["chars"]) == (200, 1, 5)
    assert [line["status"] for line in lines_with(served, "site.log", mark)] == [200]


def test_every_line_is_an_object_with_a_message_or_an_event(served):
    requests.post(
        f"{served.inference}/predictions/nobody", json={"text": "Paris"}, auth=served.inference_key, timeout=60
    )
    requests.get(f"{served.management}/models/nobody", auth=served.management_key, timeout=60)

    refused = lines_with(served, "access_log.log", "POST /predictions/nobody")
    lines = [line for name in LOGS for line in lines_of(served, name)]

    assert refused[-1]["message"].split('" ')[1].startswith("404 ")
    assert len(lines) > 10
    assert [line for line in lines if not {"message", "event"} & line.keys()] == []


def test_an_answered_prediction_is_not_logged_twice(served):
    mark = f"test-{uuid.uuid4()}"
    before = len(lines_of(served, "access_log.log"))

    requests.post(
        f"{served.inference}/predictions/en",
        json={"text": "Paris"},
        headers={"X-Request-Id": mark},
        auth=served.inference_key,
        timeout=60,
    )
    lines_with(served, "model_log.log", mark)
    requests.get(f"{served.management}/models/{mark}", auth=served.management_key, timeout=60)
    lines_with(served, "access_log.log", f"GET /models/{mark}")

    new = lines_of(served, "access_log.log")[before:]
    assert [line for line in new if "/predictions/" in line["message"]] == []
