"""Where a command finds its server, and what it says when the server is not there.

It is the one that the command line names, else the nerserve up of the state directory, else the default.
"""

from __future__ import annotations

import argparse
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from ops.errors import ManagementUnreachableError, OpsError, WrongPortError
from ops.process.handle import Handle, running
from ops.process.state_dir import StateDir
from ops.torchserve_api.ports import Port, is_refused, port_at, scheme_problem

DEFAULT_MANAGEMENT: Final = "http://127.0.0.1:8081"
DEFAULT_INFERENCE: Final = "http://127.0.0.1:8080"


class Addresses:
    """The addresses in *options*, in which those that the command line leaves out are filled in.

    A management URL that is given, by an option or a variable, may be another server's: nothing but keys is taken from
    the state directory then.

    Attributes:
        model_store: The directory of the server's archives where that is known, and can be written to; else None.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._state_dir = StateDir(options.state_dir.absolute())
        self._is_given = options.management is not None
        self._handle: Handle | None = None if self._is_given else running(self._state_dir)
        self.model_store: Path | None = None
        handle = self._handle
        if handle is not None:
            options.ca = options.ca or (Path(handle.ca) if handle.ca else None)
            self.model_store = Path(handle.model_store) if os.access(handle.model_store, os.W_OK) else None
        options.management = options.management or (handle.management if handle else DEFAULT_MANAGEMENT)
        if "inference" in options:
            options.inference = options.inference or (handle.inference if handle else DEFAULT_INFERENCE)

    def check_inference(self) -> None:
        """Raise WrongPortError where the inference URL is another port, ManagementUnreachableError where it is none."""
        self._check("inference", Port.INFERENCE)

    def explained(self, error: OpsError) -> OpsError:
        """*error* of the management API, or one that says more: which port was asked, or what does not run."""
        if is_refused(error):
            return ManagementUnreachableError(self._nothing_listens(self._options.management))
        try:
            self._check("management", Port.MANAGEMENT)
        except OpsError as wrong:
            return wrong
        return error

    def _check(self, api: str, wanted: Port) -> None:
        url, ca = getattr(self._options, api), self._options.ca
        try:
            found = port_at(url, ca)
        except ConnectionRefusedError as error:
            raise ManagementUnreachableError(self._nothing_listens(url)) from error
        if found is None:
            problem = scheme_problem(url)
            if problem:
                raise WrongPortError(problem)
        elif found is not wanted:
            raise WrongPortError(f"{url} is {found.value}; expected {wanted.value}: {self._right(api)}")

    def _right(self, api: str) -> str:
        """Where *api* is, as far as that is known here."""
        known = self._handle
        if known is None:
            with suppress(OpsError):  # another user's state directory: it was not asked for
                known = running(self._state_dir)
        if known is None:
            return f"--{api} or {_VARIABLES[api]} names it"
        return f"{getattr(known, api)} for the nerserve up with the state directory {self._state_dir.path}"

    def _nothing_listens(self, url: str) -> str:
        said = f"nothing listens at {url}: "
        if self._handle is not None:
            return f"{said}TorchServe is not up yet, or starts anew; nerserve status --state-dir {self._state_dir.path}"
        said += "is `nerserve up` running?"
        if self._is_given:
            return said
        return f"{said} None runs with the state directory {self._state_dir.path}; name its own with --state-dir"


_VARIABLES: Final = {"management": "NERSERVE_MANAGEMENT_URL", "inference": "NERSERVE_INFERENCE_URL"}
