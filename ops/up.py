"""``nerserve up``: check, start, wait until everything truly answers, supervise, and take it all down in order."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from archive.mar import MarInfo
from contract.exit_status import ExitStatus
from contract.limits import RequestLimits
from ops.errors import BadArchiveError, ConfigFileError, OpsError
from ops.first_request import ask_inference, ask_site
from ops.process.addresses import Address
from ops.process.group import Guard, adopt_orphans
from ops.process.handle import Handle, Phase, start_of
from ops.process.java import Java, find_java
from ops.process.keys import DEFAULT_RENEWAL_SHARE, KeyRing, published_keys
from ops.process.limits import default_drain_s
from ops.process.ports import check_ports
from ops.process.server_config import ServerConfig, server_env
from ops.process.site import Site, SiteCommand, site_environ
from ops.process.state_dir import DEFAULT_STATE_DIR, StateDir
from ops.process.tls import Trust
from ops.process.torchserve import TorchServe
from ops.signals import StopRequests
from ops.supervise.archives import Archives, CheckArchive
from ops.supervise.canaries import Canaries
from ops.supervise.console import Console
from ops.supervise.policy import GiveUp
from ops.supervise.servers import Servers
from ops.supervise.startup import Startup
from ops.supervise.supervisor import Supervisor
from ops.torchserve_api.management import ManagementClient
from ops.torchserve_api.predictions import PredictionClient


@dataclass(frozen=True)
class UpOptions:
    """What the command line decides; ``nerserve up --help`` says what each option means.

    Attributes:
        models: Names of the models; the first is the site's default.
        port: Of the site.
        port_base: What TorchServe's ports follow from; None for those in *config*.
        drain_timeout_s: Until accepted requests must be answered, when stopping; None for what the longest text needs.
        can_restart: Whether to start again what ends or hangs; if not, the first such event ends everything.
        ca: Certificates to trust when TorchServe speaks https; by default its own, which must be self-signed then.
        renew_keys_every_s: How long a key is used; by default for 60 % of its life.
        limits: What follows from the longest text, for TorchServe, its workers and the site.
    """

    config: Path
    model_store: Path
    models: tuple[str, ...]
    host: str
    port: int
    port_base: int | None
    state_dir: Path
    has_site: bool
    start_timeout_s: float
    drain_timeout_s: float | None
    can_restart: bool
    ca: Path | None
    inference_key_file: Path | None
    renew_keys_every_s: float | None
    limits: RequestLimits


def up(
    options: UpOptions,
    *,
    check_archive: CheckArchive,
    site_command: Callable[[], SiteCommand],
    out: TextIO,
    err: TextIO,
    detach: Callable[[], None] | None = None,
) -> int:
    """Run it all until a signal ends it; returns the exit status, raises OpsError when it cannot come up.

    The status is 0 after a stop by a signal, and ExitStatus.GAVE_UP when something ended or hung that was not to be
    restarted; a signal before everything was up is a BrokenOffError.  *check_archive* raises an OpsError for an archive
    that TorchServe should not see.  *detach* is called once everything is up; without it *out* and *err* are written to
    until the end.
    """
    instance = _Instance.checked(options, check_archive, site_command)
    stop = StopRequests()
    with stop.installed(), instance.state_dir.locked():
        site = [instance.site_address] if instance.site_command else []
        check_ports([*instance.config.addresses, *site], has_base=options.port_base is not None)
        adopt_orphans()
        with Console(out, err, instance.state_dir.events).open() as console:
            try:
                given_up = instance.run(stop, console, check_archive, detach)
            except OpsError as error:
                console.note(error)
                raise
            console.say("Stopped.")
    return ExitStatus.DONE if given_up is None else ExitStatus.GAVE_UP


@dataclass(frozen=True)
class _Instance:
    """One nerserve: what was checked before anything is started, and all that it starts."""

    options: UpOptions
    config: ServerConfig
    state_dir: StateDir
    java: Java
    trust: Trust | None
    site_command: SiteCommand | None
    site_address: Address
    site_environ: Mapping[str, str]

    @classmethod
    def checked(
        cls, options: UpOptions, check_archive: CheckArchive, site_command: Callable[[], SiteCommand]
    ) -> _Instance:
        """An instance with *options*; an OpsError for what would not come up."""
        state_dir = StateDir(options.state_dir.absolute())
        environ = server_env(os.environ, state_dir, options.limits.max_chars)
        config = ServerConfig.load(options.config, options.limits, environ, options.port_base)
        trust = _trust(options, config)
        _check_key_options(options, config)
        command = site_command() if options.has_site else None
        address = Address(options.host, options.port, "--port")
        site = site_environ(
            address=address,
            inference_url=config.inference.url,
            models=options.models,
            max_chars=options.limits.max_chars,
            inference_key=state_dir.published_key("inference") if config.has_token_authorization else None,
            ca=trust.ca if trust and config.inference.has_tls else None,
        )
        with ThreadPoolExecutor() as pool:  # Java is asked for its version meanwhile
            checks: list[Future[Any]] = [pool.submit(command.check_settings, site)] if command else []
            store = options.model_store
            checks += [pool.submit(check_archive, store / f"{model}.mar", model) for model in options.models]
            java = find_java(os.environ)
            for check in checks:
                check.result()
        return cls(options, config, state_dir, java, trust, command, address, site)

    def run(
        self, stop: StopRequests, console: Console, check_archive: CheckArchive, detach: Callable[[], None] | None
    ) -> GiveUp | None:
        """Start, supervise and drain everything; why it was given up, None when a signal ended it."""
        options = self.options
        with ExitStack() as cleanup:
            cleanup.callback(_remove_if_empty, self.state_dir.archives)
            guard = Guard()
            cleanup.callback(guard.close)
            self._enter("starting")
            guard.remove_at_the_end(self.state_dir.handle)
            cleanup.callback(self.state_dir.handle.unlink, missing_ok=True)
            keys = self._key_ring(guard)
            cleanup.callback(_remove_if_empty, self.state_dir.keys)
            kept = cleanup.enter_context(ExitStack())
            archives = Archives(options.model_store, options.models, self.state_dir, guard, check_archive)
            servers = self._servers(guard, keys, archives)
            cleanup.callback(servers.kill)
            cleanup.callback(console.clear)
            console.say(f"Java {self.java.version} from {self.java.path}; logs in {self.state_dir.logs}")
            for warning in _warnings(self.config):
                console.report(f"warning: {warning}")
            startup = Startup(
                servers, keys=keys, trust=self.trust, stop=stop, console=console, timeout_s=options.start_timeout_s
            )
            startup.run(kept)
            with _reported(console):
                self._enter("ready")
            self._announce(console, servers.site, is_detached=detach is not None)
            if detach is not None:
                console.leave_terminal()
                detach()
            canaries = Canaries(servers.predictions)
            supervisor = Supervisor(servers, canaries, archives, guard, console.tell, can_restart=options.can_restart)
            given_up = supervisor.run(lambda: stop.should_stop)
            with _reported(console):
                self._enter("stopping")
            if given_up is not None:
                console.report(f"{given_up.reason}; ending everything, as --no-restart says")
            else:
                console.say("Stopping: finishing what was accepted (once more to hurry)")
            servers.drain(self.drain_s, lambda: stop.should_hurry, given_up.model if given_up else None)
        return given_up

    @property
    def drain_s(self) -> float:
        """How long accepted requests get to be answered when it stops."""
        given_s = self.options.drain_timeout_s
        return default_drain_s(self.options.limits) if given_s is None else given_s

    def _enter(self, phase: Phase) -> None:
        """Say in the state directory that *phase* begins, and where everything is."""
        config = self.config
        Handle(
            pid=os.getpid(),
            started=start_of(os.getpid()) or "",
            phase=phase,
            since=time.time(),
            site=self.site_address.url if self.site_command is not None else None,
            inference=config.inference.url,
            management=config.management.url,
            metrics=config.metrics.url,
            grpc=config.grpc_inference.target if config.grpc_inference.port else None,
            ca=str(self.trust.ca) if self.trust else None,
            has_keys=config.has_token_authorization,
            models=self.options.models,
            model_store=str(self.options.model_store.absolute()),
            drain_s=self.drain_s,
        ).write(self.state_dir)

    def _key_ring(self, guard: Guard) -> KeyRing | None:
        """The keys of a TorchServe that asks for some; none of their files outlives us."""
        options, config = self.options, self.config
        if not config.has_token_authorization:
            return None
        published = published_keys(self.state_dir, options.inference_key_file)
        for file in published:
            guard.remove_at_the_end(file.path)
        return KeyRing(
            key_file=self.state_dir.key_file,
            management_url=config.management.url,
            ca=self.trust.ca if self.trust else None,
            published=published,
            life_s=config.key_life_s,
            renew_every_s=options.renew_keys_every_s or DEFAULT_RENEWAL_SHARE * config.key_life_s,
        )

    def _servers(self, guard: Guard, keys: KeyRing | None, archives: Archives) -> Servers:
        config, state_dir = self.config, self.state_dir
        ca = self.trust.ca if self.trust else None
        torchserve = TorchServe(
            java=self.java.path,
            config=config,
            model_store=self.options.model_store,
            sources=archives.sources,
            state_dir=state_dir,
            guard=guard,
            http_codec=self.java.http_codec,
        )
        site = (
            None
            if self.site_command is None
            else Site(
                command=self.site_command,
                address=self.site_address,
                environ=self.site_environ,
                state_dir=state_dir,
                guard=guard,
            )
        )
        management = ManagementClient(
            config.management.url, key=partial(keys.current, "management") if keys else None, ca=ca
        )
        predictions = PredictionClient(
            config.inference.url, key=partial(keys.current, "inference") if keys else None, ca=ca
        )
        return Servers(torchserve, site, management, predictions, self.options.models)

    def _announce(self, console: Console, site: Site | None, *, is_detached: bool) -> None:
        """Say where everything is, and how it is stopped."""
        say, config = console.say, self.config
        say(f"Ready after {console.elapsed_s:.1f} s.")
        if site is not None:
            say(f"  Site        {site.url}")
        for model in self.options.models:
            say(f"  Inference   {config.inference.url}/predictions/{model}")
        if config.grpc_inference.port:
            say(f"  gRPC        {config.grpc_inference.target}")
        say(f"  Management  {config.management.url}/models")
        say(f"  Metrics     {config.metrics.url}/metrics")
        chosen = "" if self.options.state_dir == DEFAULT_STATE_DIR else f" --state-dir {self.state_dir.path}"
        if config.has_token_authorization:
            say(f"  Key         nerserve key{chosen}")
        say(f"  Try         {self._first_request(site)}")
        say(f"Stop it with: nerserve down{chosen}" if is_detached else "Press Ctrl-C to stop.")

    def _first_request(self, site: Site | None) -> str:
        """A command that asks the site, or else the first model's inference port."""
        if site is not None:
            return ask_site(site.url)
        config = self.config
        return ask_inference(
            config.inference.url,
            self.options.models[0],
            key_file=self.state_dir.published_key("inference") if config.has_token_authorization else None,
            ca=self.trust.ca if self.trust and config.inference.has_tls else None,
        )


@contextmanager
def _reported(console: Console) -> Iterator[None]:
    """Report an OpsError instead of ending for it."""
    try:
        yield
    except OpsError as error:
        console.report(str(error))


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):  # missing, or not empty
        folder.rmdir()


def _warnings(config: ServerConfig) -> list[str]:
    """What is open to others and should not be."""
    warnings = []
    if not config.has_token_authorization and config.management.is_loopback:
        warnings.append(
            "nobody is asked for a key (disable_token_authorization=true): any program of this machine, and any web "
            "page in a browser here, can register models"
        )
    for address in config.addresses:
        if address.is_loopback:
            continue
        if not config.has_token_authorization or address is config.metrics:
            warnings.append(f"{address.setting} is open to other machines, and nobody is asked for a key")
        elif not address.has_tls:
            warnings.append(f"{address.setting} is open to other machines without TLS, so they can read keys and texts")
    return warnings


def _trust(options: UpOptions, config: ServerConfig) -> Trust | None:
    """The certificates to trust; None when nothing that we ask speaks TLS."""
    if not (config.inference.has_tls or config.management.has_tls):
        if options.ca is not None:
            raise ConfigFileError(f"--ca: neither inference_address nor management_address is https in {config.path}")
        return None
    ca = options.ca or config.certificate
    if ca is None:
        raise ConfigFileError("--ca: expected a file with the certificates to trust, because TLS comes from a keystore")
    return Trust(ca, (config.inference, config.management))


def _check_key_options(options: UpOptions, config: ServerConfig) -> None:
    """Raise ConfigFileError for an option about keys that does not fit *config*."""
    given_s = options.renew_keys_every_s
    if not config.has_token_authorization:
        for option, value in (("--renew-keys-every", given_s), ("--inference-key-file", options.inference_key_file)):
            if value is not None:
                raise ConfigFileError(
                    f"{option}: nobody is asked for a key; see disable_token_authorization in {config.path}"
                )
    elif given_s is not None and not 0 < given_s < config.key_life_s:
        raise ConfigFileError(
            f"--renew-keys-every: expected more than 0 and less than the life of a key, {config.key_life_s} s "
            f"(token_expiration_min), got {given_s:g}"
        )


def checked_with(check: Callable[[Path], MarInfo], failure: type[Exception]) -> CheckArchive:
    """*check*, and that the model has the name it is to be served by; every failure is a BadArchiveError."""

    def check_archive(path: Path, model: str) -> object:
        try:
            if not path.is_file():
                there = ", ".join(sorted(other.stem for other in path.parent.glob("*.mar"))) or "no archive at all"
                raise BadArchiveError(
                    f"{path} does not exist, {path.parent} has {there}; nerserve archive builds one from a bundle"
                )
            info = check(path)
        except failure as error:
            raise BadArchiveError(str(error)) from error
        except OSError as error:
            raise BadArchiveError(f"{path} cannot be read: {error.strerror}") from error
        if info.name != model:
            raise BadArchiveError(
                f"{path} is a model {info.name}, expected {model}; nerserve archive --name {model} builds it as {model}"
            )
        return info

    return check_archive
