"""Whether this process is to end: streams, which have no deadline of their own, end in time then."""

import threading
from typing import Final

STOPPING: Final = threading.Event()
"""Set by the worker when it is told to stop."""
