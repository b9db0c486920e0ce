"""Java properties as TorchServe reads them: ``java.util.Properties`` from a stream, then ``$$VARIABLES$$`` replaced.

And the settings that TorchServe 0.12 takes, by what their values are; a test compares them with its jar.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

_BLANKS: Final = " \t\f"
_PAIR: Final = re.compile(r"((?:[^\\=: \t\f]|\\.)*)[ \t\f]*[=:]?[ \t\f]*(.*)", re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(u.{,4}|.)", re.DOTALL)
_UNICODE: Final = re.compile(r"u[0-9A-Fa-f]{4}")
_CONTROLS: Final = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_SPECIAL_IN_KEY: Final = r"[\\:=#! ]"
_SPECIAL_IN_VALUE: Final = r"[\\:=#!]|^ "
_VARIABLE: Final = re.compile(r"\$\$([^$]+[^$])\$\$")

BOOLEANS: Final = frozenset({
    "async_logging",
    "cpu_launcher_enable",
    "debug",
    "decode_input_request",
    "disable_system_metrics",
    "disable_token_authorization",
    "enable_envvars_config",
    "enable_grpc_ssl",
    "enable_metrics_api",
    "enable_model_api",
    "install_py_dep_per_model",
    "ipex_enable",
    "ipex_gpu_enable",
    "limit_max_image_pixels",
    "model_metrics_auto_detect",
    "prefer_direct_buffer",
    "ts_open_inference_protocol",
    "use_env_allowed_urls",
    "use_native_io",
})  # fmt: skip
"""Settings that are true or false; TorchServe takes anything else for false."""

NUMBERS: Final = frozenset({
    "default_response_timeout",
    "default_startup_timeout",
    "default_workers_per_model",
    "grpc_inference_max_connection_age_grace_ms",
    "grpc_inference_max_connection_age_ms",
    "grpc_inference_port",
    "grpc_management_max_connection_age_grace_ms",
    "grpc_management_max_connection_age_ms",
    "grpc_management_port",
    "initial_distribution_port",
    "initial_worker_port",
    "io_ratio",
    "job_queue_size",
    "max_request_size",
    "max_response_size",
    "metric_time_interval",
    "netty_client_threads",
    "number_of_gpu",
    "number_of_netty_threads",
    "unregister_model_timeout",
})  # fmt: skip
"""Settings that are whole numbers; TorchServe does not start with anything else."""

TEXTS: Final = frozenset({
    "allowed_urls",
    "blacklist_env_vars",
    "certificate_file",
    "cors_allowed_headers",
    "cors_allowed_methods",
    "cors_allowed_origin",
    "cpp_log_config",
    "cpu_launcher_args",
    "default_service_handler",
    "grpc_inference_address",
    "grpc_management_address",
    "inference_address",
    "keystore",
    "keystore_pass",
    "keystore_type",
    "load_models",
    "management_address",
    "metrics_address",
    "metrics_config",
    "metrics_mode",
    "model_server_home",
    "model_snapshot",
    "model_store",
    "models",
    "private_key_file",
    "python",
    "service_envelope",
    "system_metrics_cmd",
    "token_expiration_min",
    "ts_header_key_sequence_end",
    "ts_header_key_sequence_id",
    "ts_header_key_sequence_start",
    "workflow_store",
})  # fmt: skip

LAUNCHER: Final = frozenset({"metrics_format", "plugins_path", "vmargs"})
"""Settings that the ``torchserve`` launcher reads, and one that is only documented."""


def parse_properties(text: str) -> dict[str, str]:
    r"""The settings in *text*, a file's bytes as ISO-8859-1; ValueError where Java refuses it.

    >>> parse_properties("# why\na=1 \nb : two \\\n  words\nc=C:\\\\\\u00e9\n")
    {'a': '1 ', 'b': 'two words', 'c': 'C:\\é'}
    """
    pairs = (_PAIR.fullmatch(line) for line in _logical_lines(text))
    return {_unescaped(pair[1]): _unescaped(pair[2]) for pair in pairs if pair}


def _logical_lines(text: str) -> Iterator[str]:
    """Lines with what they continue on, without comments and leading blanks; each still has its escapes."""
    line = ""
    for natural in re.split(r"\r\n?|\n", text):
        part = natural.lstrip(_BLANKS)
        if not line and part.startswith(("#", "!")):
            continue
        has_more = (len(part) - len(part.rstrip("\\"))) % 2 == 1
        line += part[:-1] if has_more else part
        if line and not has_more:
            yield line
            line = ""
    if line:  # a backslash ends the file
        yield line


def _unescaped(text: str) -> str:
    def character(escape: re.Match[str]) -> str:
        code = escape[1]
        if not code.startswith("u"):
            return _CONTROLS.get(code, code)
        if not _UNICODE.fullmatch(code):
            raise ValueError(f"expected four hexadecimal digits after \\u, got {escape[0]}")
        return chr(int(code[1:], 16))

    plain = _ESCAPE.sub(character, text)
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")  # two halves become one character


def format_properties(settings: Mapping[str, str]) -> str:
    r"""A file in ASCII from which Java reads *settings*.

    >>> format_properties({"a": "C:\\é"})
    'a=C\\:\\\\\\u00e9\n'
    """
    lines = ((_escaped(key, _SPECIAL_IN_KEY), _escaped(value, _SPECIAL_IN_VALUE)) for key, value in settings.items())
    return "".join(f"{key}={value}\n" for key, value in lines)


def _escaped(text: str, special: str) -> str:
    """*text* with a backslash before what *special* matches, and in ASCII."""

    def in_units(others: re.Match[str]) -> str:
        return re.sub("....", r"\\u\g<0>", others[0].encode("utf-16-be", "surrogatepass").hex())

    return re.sub(r"[^ -~]+", in_units, re.sub(special, r"\\\g<0>", text))


def resolve_variables(value: str, environ: Mapping[str, str]) -> str:
    r"""*value* with each ``$$NAME$$`` replaced by that variable of *environ*.

    >>> resolve_variables("$$HOME$$/certificate.pem", {"HOME": "/srv"})
    '/srv/certificate.pem'

    Raises:
        ValueError: there is no such variable, or TorchServe would misread its value: it takes backslashes and dollar
            signs there for its own syntax.  The message shows no value.
    """

    def replacement(match: re.Match[str]) -> str:
        name = match[1]
        if name not in environ:
            raise ValueError(f"TorchServe's environment has no variable {name}")
        if re.search(r"[\\$]", environ[name]):
            raise ValueError(f"the variable {name} has a backslash or a dollar sign, which TorchServe misreads")
        return environ[name]

    return _VARIABLE.sub(replacement, value)
