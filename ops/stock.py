"""``nerserve config``: TorchServe's settings for a stock TorchServe, as nerserve up would give them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from contract.limits import DEFAULT_MAX_CHARS, MAX_CHARS_VARIABLE, RequestLimits
from ops.errors import ConfigFileError, InputFileError
from ops.process.server_config import ServerConfig
from ops.process.state_dir import replace_private
from ops.process.torchserve import JVM_OPTIONS

_HEAD: Final = "# Written by nerserve config from "

_READ_BY_THE_LAUNCHER: Final = ("model_store", "vmargs")
"""What the ``torchserve`` launcher reads too, line by line: it knows no escapes."""


def stock_settings(config: ServerConfig, model_store: Path, models: tuple[str, ...]) -> dict[str, str]:
    """What a stock TorchServe is to read in order to serve *models* as nerserve up does.

    Raises ConfigFileError for what its launcher would read otherwise than TorchServe does.
    """
    settings = dict(config.settings) | {
        "model_store": str(model_store.absolute()),
        "load_models": ",".join(f"{model}={model}.mar" for model in models),
        "vmargs": " ".join([*JVM_OPTIONS, *config.jvm_options]),
    }
    for name in _READ_BY_THE_LAUNCHER:
        value = settings[name]
        if not value.isascii() or "\\" in value or value != value.strip():
            raise ConfigFileError(
                f"{name}: expected ASCII without backslashes, which the launcher torchserve reads as TorchServe does, "
                f"got {value!r}"
            )
    return settings


def format_stock(settings: Mapping[str, str], source: Path) -> str:
    r"""A file that both TorchServe and its launcher read *settings* from, which come from *source*.

    >>> print(format_stock({"vmargs": "-Xmx1g -Da=b:c", "keystore_pass": " é"}, Path("/etc/c")).partition("\n\n")[2])
    vmargs=-Xmx1g -Da=b:c
    keystore_pass=\ \u00e9
    <BLANKLINE>
    """
    lines = [
        f"{_HEAD}{str(source)!a}: for a stock TorchServe, started in a directory of its own, where it writes its",
        "# keys and logs.  The paths are this machine's; write it again when one of them changes.",
        "",
        *(f"{name}={_escaped(value)}" for name, value in settings.items()),
    ]
    return "\n".join(lines) + "\n"


def write_stock(path: Path, text: str, mode: int) -> None:
    """Have the file at *path*, with *mode*, hold *text*; InputFileError when it cannot, or holds what another wrote."""
    try:
        if path.exists() and not path.read_bytes().startswith(_HEAD.encode()):
            raise InputFileError(f"{path} is not of nerserve config, and stays as it is; name another file with --out")
        replace_private(path, text, mode)
    except OSError as error:
        raise InputFileError(f"{path} cannot be written: {error.strerror or error}") from error


def stock_command(path: Path, limits: RequestLimits) -> str:
    """The command that starts a stock TorchServe with the settings in *path*, for a shell."""
    variables = {"OMP_NUM_THREADS": 1, "MKL_NUM_THREADS": 1}
    if limits.max_chars != DEFAULT_MAX_CHARS:
        variables[MAX_CHARS_VARIABLE] = limits.max_chars
    words = [*(f"{name}={value}" for name, value in variables.items())]
    words += ["torchserve", "--start", "--foreground", "--ncs", "--ts-config", str(path.absolute())]
    return shlex.join(words)


def _escaped(value: str) -> str:
    """*value* as ``java.util.Properties`` reads it back, with no escape that need not be."""
    text = value.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    text = f"\\{text}" if text.startswith((" ", "\f")) else text
    units = text.encode("utf-16-be", "surrogatepass")
    pairs = zip(units[::2], units[1::2], strict=True)
    return "".join(chr(low) if high == 0 and low < 127 else f"\\u{high:02x}{low:02x}" for high, low in pairs)
