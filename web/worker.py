"""gunicorn's threaded worker, except that a stop answers the connections that were waiting to be accepted."""

from __future__ import annotations

import socket

from gunicorn.workers.gthread import ThreadWorker


class DrainingWorker(ThreadWorker):
    """Takes what is in the listeners' queues before it stops listening.

    For a client such a connection stands and its request is on the way; gunicorn's own worker would reset it.
    """

    def set_accept_enabled(self, enabled: bool | None) -> None:
        """Accept new connections or not; when this worker ends, those that wait are taken first."""
        super().set_accept_enabled(enabled)
        if enabled or self.alive:
            return
        for listener in self.sockets:
            while self.nr_conns < self.worker_connections and self._takes_one(listener):
                pass
            listener.close()  # once every worker and the master have done so, connections are refused

    def _takes_one(self, listener: socket.socket) -> bool:
        """Accept a connection if one waits; whether there was one."""
        num_before = self.nr_conns
        self.accept(listener)
        return self.nr_conns > num_before
