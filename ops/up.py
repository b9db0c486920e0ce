"""``nerserve up``: check, start, wait until everything truly answers, supervise, and take it all down in order."""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Final, TextIO

from contract.limits import DEFAULT_REQUEST_BYTES, MAX_CHARS_VARIABLE, RequestLimits
from contract.names import MODEL_NAME_RULE, is_model_name
from ops.errors import (
    BadArchiveError,
    ConfigFileError,
    ManagementError,
    ManagementRefusedError,
    ManagementUnreachableError,
    OpsError,
    StartError,
    StateDirBusyError,
    StoppedError,
    UnknownModelError,
)
from ops.process import tls
from ops.process.group import Guard, adopt_orphans
from ops.process.java import Java, find_java
from ops.process.keys import USUAL_SHARE, KeyFile, KeyRing
from ops.process.limits import default_drain_s
from ops.process.ports import check_ports
from ops.process.properties import Address, ServerConfig
from ops.process.site import Site, SiteCommand
from ops.process.torchserve import StateDir, TorchServe
from ops.supervise.supervisor import Supervisor
from ops.torchserve_api.canary import Canaries, InferenceApi, Sign, ask, no_key
from ops.torchserve_api.management import ManagementClient

logger = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 0.1
CANARY_TIMEOUT_S: Final = 10.0
JVM_GRACE_S: Final = 10.0
CALM_LOOKS: Final = 5
"""Looks in a row that find nothing new in the logs, after which a worker's traceback is there to its last line."""

MOST_LOOKS: Final = 50
"""Looks for it altogether."""

LAST_BATCHES_S: Final = 1.0
"""For batches that workers have in hand once the queues are empty; nothing tells how many there are."""

GAVE_UP_STATUS: Final = 12
"""The exit status when something ended or hung that was not to be restarted."""


@dataclass(frozen=True)
class UpOptions:
    """What the command line decides.

    Attributes:
        config: TorchServe's config.properties.
        model_store: The directory with an archive NAME.mar for each model.
        models: Names of the models; the first is the site's default.
        host: Address the site binds.
        port: Port the site binds.
        state_dir: Where logs and scratch files go; every parallel instance has its own.
        has_site: Whether to run the site at all.
        start_timeout_s: Until everything must answer.
        drain_timeout_s: Until requests that were accepted must be answered, when stopping; None for what the longest
            text needs.
        can_restart: Whether to start again what ends or hangs; if not, the first such event ends everything.
        ca: Certificates to trust when TorchServe speaks https; by default its own, which must be self-signed then.
        inference_key_file: One more file to publish the inference key in, readable by its group.
        renew_keys_every_s: How long a key is used; by default for 60 % of its life.
        limits: What follows from the longest text, for TorchServe, its workers and the site.
    """

    config: Path
    model_store: Path
    models: tuple[str, ...]
    host: str = "127.0.0.1"
    port: int = 8000
    state_dir: Path = Path(".nerserve")
    has_site: bool = True
    start_timeout_s: float = 120.0
    drain_timeout_s: float | None = None
    can_restart: bool = True
    ca: Path | None = None
    inference_key_file: Path | None = None
    renew_keys_every_s: float | None = None
    limits: RequestLimits = field(default_factory=RequestLimits)

    def __post_init__(self) -> None:
        for model in self.models:
            if not is_model_name(model):
                raise ValueError(f"expected {MODEL_NAME_RULE}, got {model!r}")
        if len(set(self.models)) != len(self.models) or not self.models:
            raise ValueError(f"expected at least one model, each once, got {','.join(self.models)!r}")


class StopRequests:
    """Counts the signals that ask us to stop; the second one asks us to hurry."""

    def __init__(self) -> None:
        self.signals: list[int] = []

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        """Note the signal *number*; this is the signal handler."""
        self.signals.append(number)

    @property
    def should_stop(self) -> bool:
        """Whether there was any."""
        return bool(self.signals)

    @property
    def should_hurry(self) -> bool:
        """Whether there was more than one."""
        return len(self.signals) > 1

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle SIGINT, SIGTERM and SIGHUP here for a while; one that is ignored stays so, as nohup wants it."""
        numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
        before = {number: signal.getsignal(number) for number in numbers}
        for number in numbers:
            if before[number] is not signal.SIG_IGN:
                signal.signal(number, self)
        try:
            yield
        finally:
            for number in numbers:
                signal.signal(number, before[number])


class Progress:
    """Says what is being waited for: on a terminal one line that counts the seconds, elsewhere a line per step."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._is_terminal = out.isatty()
        self._began_s = time.monotonic()
        self._step = ""

    def waiting_for(self, step: str) -> None:
        """Show that *step* is being waited for; call it as often as you like."""
        elapsed_s = time.monotonic() - self._began_s
        if self._is_terminal:
            self._write(f"\r\x1b[K{step} ({elapsed_s:.0f} s)")
        elif step != self._step:
            self._write(f"{step}\n")
        self._step = step

    def say(self, text: str) -> None:
        """Show *text* in a line of its own."""
        self.clear()
        self._write(f"{text}\n")

    def clear(self) -> None:
        """Leave the terminal's line clean."""
        if self._is_terminal and self._step:
            self._write("\r\x1b[K")
        self._step = ""

    @property
    def elapsed_s(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._began_s

    def _write(self, text: str) -> None:
        with suppress(OSError):  # a full disk, a terminal that is gone: nothing ends for that
            self._out.write(text)
            self._out.flush()


@dataclass
class _Stack:
    """All that runs for one ``nerserve up``."""

    options: UpOptions
    config: ServerConfig
    guard: Guard
    state_dir: StateDir
    torchserve: TorchServe
    site: Site | None
    management: ManagementClient
    inference: InferenceApi
    ca: Path | None
    keys: KeyRing | None
    drain_timeout_s: float
    stop: StopRequests
    progress: Progress
    cleanup: ExitStack = field(default_factory=ExitStack)

    def start(self) -> None:
        """Start everything and return once every model answers; StartError or StoppedError when it does not."""
        last_words = self.torchserve.last_words
        _start("TorchServe", self.torchserve.start)
        if self.keys is not None:
            self.cleanup.enter_context(self.keys.kept())
            self._wait("TorchServe to write its keys", lambda: self.keys is None or self.keys.is_published, last_words)
        if self.site is not None:
            _start("the site", self.site.start)
        self._wait("TorchServe to start", lambda: self._is_trusted() and self._is_managed(), last_words)
        for model in self.options.models:
            self._wait(f"model {model} to load", partial(self._is_loaded, model), last_words)
            self._wait(f"model {model} to answer", partial(self._answers, model), last_words)
        site = self.site
        if site is not None:
            self._wait("the site to be ready", lambda: site.is_ready(timeout_s=5.0), site.last_words)

    def _wait(self, what: str, is_there: Callable[[], bool], last_words: Callable[[], list[str]]) -> None:
        """Wait until *is_there*, as long as everything runs, nobody wants us to stop, and there is time."""
        while True:
            self.progress.waiting_for(f"Waiting for {what}")
            if is_there():
                return
            if self.stop.should_stop:
                raise StoppedError(self.stop.signals[0])
            self._check_processes()
            if self.progress.elapsed_s > self.options.start_timeout_s:
                limit_s = self.options.start_timeout_s
                raise StartError(f"gave up waiting for {what} after {limit_s:.0f} s", last_words())
            time.sleep(LOOK_EVERY_S)

    def _check_processes(self) -> None:
        """Raise StartError when one of them has ended, or a worker could not load its model."""
        status = self.torchserve.poll()
        if status is not None:
            raise StartError(f"TorchServe ended at once (exit status {status})", self.torchserve.last_words())
        if self.torchserve.load_failed():
            raise StartError("a model does not load", settled(self.torchserve.last_words))
        if self.site is not None:
            status = self.site.poll()
            if status is not None:
                raise StartError(f"the site ended at once (exit status {status})", self.site.last_words())

    def _is_managed(self) -> bool:
        """Whether the management API replies; it does once every archive is unpacked."""
        try:
            self.management.describe(self.options.models[0])
        except ManagementUnreachableError:
            return False
        except UnknownModelError:
            return True  # _is_loaded names it
        except ManagementRefusedError:
            return self.keys is None  # a key may expire before this API is there to renew it
        return True

    def _is_trusted(self) -> bool:
        """Whether TLS is there, where it should be; StartError for a certificate that no client would accept."""
        if self.ca is None:
            return True
        client = tls.trusting(self.ca)
        for address in (self.config.inference, self.config.management):
            if not address.has_tls:
                continue
            try:
                problem = tls.problem_with(address, client)
            except OSError:
                return False  # not yet
            if problem is not None:
                raise StartError(f"{address.setting}: a client that trusts {self.ca} refuses {address.url}: {problem}")
        return True

    def _is_loaded(self, model: str) -> bool:
        try:
            return self.management.describe(model).num_ready > 0
        except ManagementUnreachableError:
            return False
        except UnknownModelError as error:
            raise StartError(f"TorchServe did not take model {model}", self.torchserve.last_words()) from error

    def _answers(self, model: str) -> bool:
        return ask(self.inference, model, timeout_s=5.0) is Sign.ANSWER

    def drain(self, hopeless: str | None = None) -> None:
        """Stop admitting, let what was accepted be answered, then end; kill() sees to what does not.

        Nobody waits for the queue of the model *hopeless*.
        """
        models = [model for model in self.options.models if model != hopeless]
        deadline_s = time.monotonic() + self.drain_timeout_s
        if self.site is not None:
            self.site.drain()
            self._wait_while(lambda: self.site is not None and self.site.poll() is None, deadline_s)
        if self.torchserve.poll() is None:
            self._wait_while(lambda: self._has_pending(models), deadline_s)
            self._wait_while(lambda: True, time.monotonic() + LAST_BATCHES_S)
            self.torchserve.terminate()
            self._wait_while(lambda: self.torchserve.poll() is None, time.monotonic() + JVM_GRACE_S)

    def kill(self) -> None:
        """End everything at once; nothing is left behind."""
        if self.site is not None:
            self.site.kill()
        self.torchserve.kill()
        self.cleanup.close()
        with suppress(OSError):  # it is not there, or somebody put something in it
            self.state_dir.inference_key.parent.rmdir()
        self.guard.close()

    def _wait_while(self, is_busy: Callable[[], bool], deadline_s: float) -> None:
        while not self.stop.should_hurry and time.monotonic() < deadline_s and is_busy():
            time.sleep(LOOK_EVERY_S)

    def _has_pending(self, models: Sequence[str]) -> bool:
        """Whether any of *models* has requests in its queue, or all its workers have their hands full."""
        for model in models:
            try:
                status = self.management.describe(model)
            except ManagementError:
                continue
            if status.num_pending:
                return True
            # The queue does not count the batch in a worker's hand; with one worker, a canary is answered after it.
            if status.num_ready and ask(self.inference, model, timeout_s=1.0) is Sign.SILENCE:
                return True
        return False


def _start(what: str, start: Callable[[], None]) -> None:
    """Start *what*; StartError where the system does not let it, on a full disk for instance."""
    try:
        start()
    except OSError as error:
        raise StartError(f"{what} could not be started: {error}") from error


def settled(read: Callable[[], list[str]]) -> list[str]:
    """The lines that *read* finds once it finds no more; it is called every LOOK_EVERY_S seconds until then."""
    lines, num_calm = read(), 0
    for _ in range(MOST_LOOKS):
        time.sleep(LOOK_EVERY_S)
        before, lines = lines, read()
        num_calm = num_calm + 1 if lines == before else 0
        if num_calm == CALM_LOOKS:
            break
    return lines


def up(
    options: UpOptions,
    *,
    check_archive: Callable[[Path], object],
    site_command: Callable[[], SiteCommand],
    out: TextIO,
    err: TextIO,
) -> int:
    """Run it all until a signal ends it; returns the exit status, raises OpsError when it cannot come up.

    The status is 0 after a stop that was asked for, and GAVE_UP_STATUS when
    something ended or hung that was not to be restarted; a stop that came
    before everything was up is a StoppedError.  *check_archive* raises an OpsError for
    an archive that TorchServe should not see.
    """
    config = ServerConfig.load(options.config)
    ca = _trusted(options, config)
    renew_every_s = _renewal(options, config)
    settings = _settings(config, options.limits)
    site_address = Address(options.host, options.port, "--port")
    command = site_command() if options.has_site else None
    with ThreadPoolExecutor() as pool:  # Java is asked for its version meanwhile
        checks = [pool.submit(check_archive, options.model_store / f"{model}.mar") for model in options.models]
        java = find_java(os.environ)
        for check in checks:
            check.result()
    state_dir = StateDir(options.state_dir.absolute())
    progress = Progress(out)
    stop = StopRequests()
    with stop.installed(), _locked(state_dir):
        check_ports([*config.addresses, *([site_address] if options.has_site else [])])
        adopt_orphans()
        guard = Guard()
        keys = None
        if config.has_token_authorization:
            keys = KeyRing(
                key_file=state_dir.key_file,
                management_url=config.management.url,
                ca=ca,
                published=_key_files(options, state_dir, guard),
                life_s=config.key_life_s,
                renew_every_s=renew_every_s,
            )
        stack = _Stack(
            options=options,
            config=config,
            guard=guard,
            state_dir=state_dir,
            torchserve=TorchServe(
                java=java.path,
                config=config,
                model_store=options.model_store,
                models=options.models,
                state_dir=state_dir,
                guard=guard,
                settings=settings,
                limits=options.limits,
            ),
            site=None
            if command is None
            else Site(
                command=command,
                address=site_address,
                inference_url=config.inference.url,
                models=options.models,
                state_dir=state_dir,
                guard=guard,
                max_chars=options.limits.max_chars,
                inference_key=state_dir.inference_key if keys else None,
                ca=ca if config.inference.has_tls else None,
            ),
            management=ManagementClient(config.management.url, key=keys.management if keys else no_key, ca=ca),
            inference=InferenceApi(config.inference.url, key=keys.inference if keys else no_key, ca=ca),
            ca=ca,
            keys=keys,
            drain_timeout_s=default_drain_s(options.limits)
            if options.drain_timeout_s is None
            else options.drain_timeout_s,
            stop=stop,
            progress=progress,
        )
        return _run(stack, java, err)


def _run(stack: _Stack, java: Java, err: TextIO) -> int:
    def tell(text: str) -> None:
        stack.progress.clear()
        with suppress(OSError):  # what cannot be told, on a full disk for instance, ends nothing
            err.write(f"{time.strftime('%H:%M:%S')} {text}\n")
            err.flush()

    try:
        stack.progress.say(f"Java {java.version} from {java.path}; logs in {stack.state_dir.logs}")
        for warning in _warnings(stack.config):
            tell(f"warning: {warning}")
        stack.start()
        _announce(stack)
        supervisor = Supervisor(
            torchserve=stack.torchserve,
            site=stack.site,
            management=stack.management,
            canaries=Canaries(stack.inference, timeout_s=CANARY_TIMEOUT_S),
            models=stack.options.models,
            guard=stack.guard,
            tell=tell,
            can_restart=stack.options.can_restart,
        )
        given_up = supervisor.run(lambda: stack.stop.should_stop)
        if given_up is not None:
            tell(f"{given_up.reason}; ending everything, as --no-restart says")
        else:
            stack.progress.say("Stopping: finishing what was accepted (once more to hurry)")
        stack.drain(hopeless=given_up.model if given_up is not None else None)
    finally:
        stack.progress.clear()
        stack.kill()
    stack.progress.say("Stopped.")
    return 0 if given_up is None else GAVE_UP_STATUS


def _warnings(config: ServerConfig) -> list[str]:
    """What is open to other machines and should not be."""
    warnings = []
    for address in config.addresses:
        if address.is_loopback:
            continue
        if not config.has_token_authorization or address is config.metrics:
            warnings.append(f"{address.setting} is open to other machines, and nobody is asked for a token")
        elif not address.has_tls:
            warnings.append(f"{address.setting} is open to other machines without TLS, so they can read keys and texts")
    return warnings


def _trusted(options: UpOptions, config: ServerConfig) -> Path | None:
    """The file with the certificates to trust; None when nothing that we ask speaks TLS."""
    if not (config.inference.has_tls or config.management.has_tls):
        if options.ca is not None:
            raise ConfigFileError(f"--ca: neither inference_address nor management_address is https in {config.path}")
        return None
    ca = options.ca or config.certificate
    if ca is None:
        raise ConfigFileError("--ca: expected a file with the certificates to trust, because TLS comes from a keystore")
    tls.trusting(ca)
    return ca.absolute()


def _renewal(options: UpOptions, config: ServerConfig) -> float:
    """Seconds until a key is renewed."""
    given_s = options.renew_keys_every_s
    if not config.has_token_authorization:
        for option, value in (("--renew-keys-every", given_s), ("--inference-key-file", options.inference_key_file)):
            if value is not None:
                raise ConfigFileError(
                    f"{option}: nobody is asked for a key; see disable_token_authorization in {config.path}"
                )
    if given_s is None:
        return USUAL_SHARE * config.key_life_s
    if not 0 < given_s < config.key_life_s:
        raise ConfigFileError(
            f"--renew-keys-every: expected more than 0 and less than the life of a key, {config.key_life_s} s "
            f"(token_expiration_min), got {given_s:g}"
        )
    return given_s


def _settings(config: ServerConfig, limits: RequestLimits) -> dict[str, str]:
    """What TorchServe is told beside config.properties; ConfigFileError where that says something else by hand."""
    wanted = limits.request_bytes
    if config.max_request_bytes not in {None, wanted, DEFAULT_REQUEST_BYTES}:
        raise ConfigFileError(
            f"{config.path}: max_request_size: expected {wanted}, which follows from the {limits.max_chars} characters "
            f"that a text may have, got {config.max_request_bytes}; leave it out, and set {MAX_CHARS_VARIABLE}"
        )
    settings = {"max_request_size": str(wanted), "max_response_size": str(limits.reply_bytes)}
    if config.metrics_config is not None:  # TorchServe would take a relative path from its working directory
        settings["metrics_config"] = str(config.metrics_config)
    return settings


def _key_files(options: UpOptions, state_dir: StateDir, guard: Guard) -> list[KeyFile]:
    """Where keys are published; none of these files outlives us."""
    folder = state_dir.inference_key.parent
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise OpsError(f"no key can be written to {folder}: {error.strerror or error}") from error
    files = [KeyFile(state_dir.inference_key, "inference"), KeyFile(state_dir.management_key, "management")]
    if options.inference_key_file is not None:
        files.append(KeyFile(options.inference_key_file.absolute(), "inference", mode=0o640))
    for file in files:
        guard.remove_at_the_end(file.path)
    return files


def _announce(stack: _Stack) -> None:
    """Say where everything is."""
    say, config = stack.progress.say, stack.config
    say(f"Ready after {stack.progress.elapsed_s:.1f} s.")
    if stack.site is not None:
        say(f"  Site        {stack.site.url}")
    for model in stack.options.models:
        say(f"  Inference   {config.inference.url}/predictions/{model}")
    if config.grpc_inference.port:
        say(f"  gRPC        {config.grpc_inference.target}")
    say(f"  Management  {config.management.url}/models")
    say(f"  Metrics     {config.metrics.url}/metrics")
    if stack.keys is not None:
        say(f"  Keys        {stack.state_dir.inference_key.parent}")
    say("Press Ctrl-C to stop.")


@contextmanager
def _locked(state_dir: StateDir) -> Iterator[None]:
    """Own *state_dir* for a while; StateDirBusyError when another nerserve does.

    Raises OpsError for a directory that has files of others: what is ours there is removed by its name.
    """
    try:
        state_dir.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        names = {path.name for path in state_dir.path.iterdir()} - {state_dir.logs.name}  # a disk of its own, perhaps
        if names and "lock" not in names:
            raise OpsError(
                f"the state directory {state_dir.path} is not empty, and no nerserve has used it before; "
                "choose an empty or a new one with --state-dir"
            )
        lock = (state_dir.path / "lock").open("a+")
        state_dir.create()
    except OSError as error:
        raise OpsError(f"the state directory {state_dir.path} cannot be used: {error.strerror or error}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StateDirBusyError(
                f"another nerserve runs with the state directory {state_dir.path}; stop it, or choose another "
                "with --state-dir"
            ) from error
        yield


def checked_with(check: Callable[[Path], object], failure: type[Exception]) -> Callable[[Path], object]:
    """*check*, with every *failure* of it, whose message names the file, turned into a BadArchiveError."""

    def check_archive(path: Path) -> object:
        if not path.is_file():
            there = ", ".join(sorted(other.stem for other in path.parent.glob("*.mar"))) or "no archive at all"
            raise BadArchiveError(
                f"{path} does not exist, {path.parent} has {there}; nerserve archive builds one from a bundle"
            )
        try:
            return check(path)
        except failure as error:
            raise BadArchiveError(str(error)) from error

    return check_archive
