"""Log records as JSON, one object a line."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any, Final

FIELDS: Final = "request_id method path status bytes seconds model texts characters attempts error".split()
"""The only attributes of ``extra`` that are written, so that no text is logged by accident."""

_ENCODER: Final = json.JSONEncoder(default=str)


class JSONFormatter(logging.Formatter):
    """One line of ASCII for each record; fields that are empty are left out.

    >>> record = logging.LogRecord("web.access", logging.INFO, "", 0, "request", None, None)
    >>> record.created, record.process = 0.25, 7
    >>> JSONFormatter().format(record)
    '{"time": "1970-01-01T00:00:00.250Z", "level": "info", "logger": "web.access", "pid": 7, "message": "request"}'
    """

    def format(self, record: logging.LogRecord) -> str:
        """*record* as one line."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
            "message": record.getMessage(),
        }
        line |= {name: value for name in FIELDS if (value := getattr(record, name, "")) not in {"", None}}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return _ENCODER.encode(line)


def configuration() -> dict[str, Any]:
    """For ``logging.config.dictConfig``: the access log on stdout, everything else on stderr."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "web.server.logs.JSONFormatter"}},
        "handlers": {
            "events": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"},
            "requests": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stdout"},
        },
        "root": {"level": "INFO", "handlers": ["events"]},
        "loggers": {
            "gunicorn.error": {"level": "INFO", "handlers": ["events"], "propagate": False},
            "gunicorn.access": {"level": "CRITICAL", "handlers": [], "propagate": False},
            "web.access": {"level": "INFO", "handlers": ["requests"], "propagate": False},
        },
    }
