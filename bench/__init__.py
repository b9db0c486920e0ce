"""What we measure, against peers and against our own promises; run with ``python -m bench.NAME``."""
