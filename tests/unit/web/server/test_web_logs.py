import json
import logging
import logging.config
import sys

import pytest

from web.server.logs import FIELDS, JSONFormatter, configuration


def record_of(message="event", *arguments, exc_info=None, **extra):
    record = logging.LogRecord("web.x", logging.WARNING, "", 0, message, arguments, exc_info)
    vars(record).update(extra)
    return record


def test_a_record_is_one_line_of_json():
    line = JSONFormatter().format(record_of("key %s\n%s", "é", "\ud800"))

    assert "\n" not in line
    assert line.isascii()
    found = json.loads(line)
    assert found["message"] == "key é\n\ud800"
    assert (found["level"], found["logger"]) == ("warning", "web.x")
    assert found["time"].endswith("Z")


def test_known_fields_come_along_and_others_do_not():
    line = json.loads(JSONFormatter().format(record_of(status=200, texts=0, model="", text="Attack at dawn")))

    assert line["status"] == 200
    assert line["texts"] == 0
    assert "model" not in line
    assert "Attack" not in str(line)


def test_a_traceback_is_in_its_line():
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        line = JSONFormatter().format(record_of(exc_info=sys.exc_info()))

    assert "\n" not in line
    assert "ZeroDivisionError" in json.loads(line)["traceback"]


@pytest.mark.parametrize("name", ["text", "query", "body"])
def test_no_field_is_for_a_text(name):
    assert name not in FIELDS


def test_the_configuration_is_one_that_logging_understands():
    logging.config.DictConfigurator(configuration())
    assert configuration()["loggers"]["web.access"]["handlers"] == ["requests"]
