"""How gunicorn runs the site: ``gunicorn -c web/server/gunicorn_conf.py`` from the root of the checkout."""

import atexit
import gc
import math
import os
import resource
import shutil
import tempfile
from typing import Any

from gunicorn.glogging import Logger

from web.config import WebConfig, read_or_exit
from web.server import balance
from web.server.logs import configuration

_MAX_CONNECTIONS = 4_000
_NEW_OBJECTS = 10_000  # after so many the collector looks for cycles among them; a request leaves few
_OTHER_FILES = 64  # that a process has open: logs, listeners, its numbers, and what it reads now and then


def _num_connections(settings: WebConfig) -> int:
    """How many clients a process may have at a time; the limit of open files is raised for them as far as it goes.

    Each takes a file; connections to TorchServe, twice as many while old ones are replaced, are kept besides.
    """
    others = _OTHER_FILES + 2 * settings.max_in_flight
    wanted = others + _MAX_CONNECTIONS
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, hard = (wanted if limit == resource.RLIM_INFINITY else min(limit, wanted) for limit in limits)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, limits[1]))
    return max(1, hard - others)


settings = read_or_exit()  # a wrong setting stops gunicorn here, before any worker starts

wsgi_app = "web.app:create_app()"
bind = settings.bind  # loopback unless an operator says otherwise: there is no log-in and no TLS here
workers = settings.num_workers  # for the time spent in Python itself; more do not make TorchServe faster
worker_class = "web.server.worker.DrainingWorker"  # greenlets: nothing here may keep a lock or a socket for them
timeout = 30  # seconds without a sign of life from a worker's main loop; requests have their own deadline
graceful_timeout = math.ceil(settings.deadline_s) + 2  # on SIGTERM the slowest call to TorchServe may still end
worker_connections = _num_connections(settings)  # more wait in the listener's queue
keepalive = 5  # seconds a browser's connection is kept for the style sheet and the next request
forwarded_allow_ips = ""  # no header of a client changes what we take for its address or scheme
control_socket_disable = True  # no socket for commands: what nobody uses nobody can misuse
errorlog = "-"  # stderr, where a container's log is read
accesslog = None  # web.access writes a line for each request
logconfig_dict = configuration()


class _Events(Logger):
    """gunicorn's log without its lines for requests, which it would put together, for nobody, with every answer."""

    access_log_enabled = False


logger_class = _Events

_MULTIPROC_DIR = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client reads it when it is imported, in a worker


def on_starting(_server: Any) -> None:
    """Make the directory in which the processes put their numbers together; it goes when this process ends.

    prometheus_client is imported here for the plain locks that it gets: it never waits while it holds one, and gevent's
    cost ten times as much.
    """
    directory = os.environ[_MULTIPROC_DIR] = tempfile.mkdtemp(prefix="nerserve-metrics-")
    atexit.register(_remove, directory, os.getpid())
    import prometheus_client  # noqa: F401, PLC0415  (not before the directory is there)


def post_worker_init(worker: Any) -> None:
    """Compile the templates of the pages that everybody sees, so that the first visitor need not wait for that.

    What lives as long as the process is of no interest to the garbage collector.
    """
    for name in ("form.html", "error.html"):
        worker.wsgi.jinja_env.get_template(name)
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS)


def child_exit(_server: Any, worker: Any) -> None:
    """Forget what a worker that ended had in flight and its connections; what it had counted stays."""
    from prometheus_client.multiprocess import mark_process_dead  # noqa: PLC0415  (not before the directory is there)

    balance.forget(worker.age)
    mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def _remove(directory: str, owner: int) -> None:
    """Remove *directory*, unless this is a worker, which ends in the same way as its master, the *owner*."""
    if os.getpid() == owner:
        shutil.rmtree(directory, ignore_errors=True)
