"""How gunicorn runs the site: ``gunicorn -c web/gunicorn_conf.py`` from the root of the checkout."""

import logging
import math

from web.config import WebConfig

settings = WebConfig.from_env()  # a wrong setting stops gunicorn here, before any worker starts

wsgi_app = "web.app:create_app()"
bind = settings.bind  # loopback unless an operator says otherwise: there is no log-in and no TLS here
workers = settings.num_workers  # for the time spent in Python itself; more do not make TorchServe faster
# Threads: a request mostly waits for TorchServe, and a waiting thread costs little. Its own class: see web/worker.py.
worker_class = "web.worker.DrainingWorker"
threads = settings.num_threads  # requests in flight per worker, each with a connection to TorchServe of its own
timeout = 30  # seconds without a sign of life from a worker's main loop; requests have their own deadline
graceful_timeout = math.ceil(settings.timeout_s) + 2  # on SIGTERM the slowest call to TorchServe may still end
keepalive = 5  # seconds a browser's connection is kept for the style sheet and the next request
forwarded_allow_ips = ""  # no header of a client changes what we take for its address or scheme
control_socket_disable = True  # no socket for commands: what nobody uses nobody can misuse
errorlog = "-"  # stderr, where a container's log is read
accesslog = "-"  # stdout
# Address, time, method, path, status, bytes, seconds. No query string, no referrer, no body: no text of a user.
access_log_format = '%(h)s %(t)s "%(m)s %(U)s" %(s)s %(B)s %(L)s'

# The site's own events go to stderr too; gunicorn sets up only its own two logs.
logging.basicConfig(level=logging.INFO, format="[%(asctime)s] [%(process)d] [%(levelname)s] %(name)s: %(message)s")
