"""What schemathesis must know of this API; it reads the file because SCHEMATHESIS_HOOKS names it."""

import schemathesis

ENOUGH_S = 60.0


@schemathesis.serializer("application/x-ndjson")
def ndjson(context, value):
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")


@schemathesis.hook
def filter_case(context, case):
    """Leave out headers that no document lists, which HTTP allows, and deadlines that rightly end in a 504."""
    headers = {name.lower(): value for name, value in (case.headers or {}).items()}
    return "x-schemathesis-unknown-property" not in headers and not is_short(headers.get("x-request-timeout"))


def is_short(timeout):
    try:
        return 0 < float(timeout) < ENOUGH_S
    except (TypeError, ValueError):
        return False
