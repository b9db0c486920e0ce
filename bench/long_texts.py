"""What a character costs in short and in long texts, and the memory that it takes: the numbers behind the limits.

Tags texts of several kinds and sizes, each in a process of its own, on one
thread.  Ordinary text should cost at 1,000,000 characters at most 1.3 times
what it costs at 10,000; the kinds without a sentence end are the costliest
that are known, and a worker's limits (``handler/limits.py``) are chosen by
them.

    python -m bench.long_texts models/en
    python -m bench.long_texts models/en --kinds ordinary han --sizes 10000 1000000
"""

from __future__ import annotations

import argparse
import itertools
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from handler.tagger import Tagger

_SENTENCE = "Barack Obama was born in Hawaii and worked for the United Nations in New York. "


def _ordinary(num_chars: int) -> str:
    return (_SENTENCE * (num_chars // len(_SENTENCE) + 1))[:num_chars]


def _unended(num_chars: int) -> str:
    return (_SENTENCE.replace(".", "") * (num_chars // len(_SENTENCE) + 2))[:num_chars]


def _punctuation(num_chars: int) -> str:
    return ("!?;," * (num_chars // 4 + 1))[:num_chars]


def _han(num_chars: int) -> str:
    return "".join(map(chr, random.Random(1).choices(range(0x4E00, 0x9FFF), k=num_chars)))


KINDS: dict[str, Callable[[int], str]] = {
    "ordinary": _ordinary,
    "unended": _unended,
    "punctuation": _punctuation,
    "han": _han,
    "one word": "a".__mul__,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a row for each kind and size."""
    parser = argparse.ArgumentParser(prog="python -m bench.long_texts", description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=[*KINDS])
    parser.add_argument("--sizes", nargs="+", type=int, default=[10_000, 100_000, 1_000_000], metavar="CHARS")
    parser.add_argument("--alone", action="store_true", help="measure in this process")
    given = parser.parse_args(arguments)
    if given.alone:
        _measure(given.bundle, given.kinds[0], given.sizes[0])
        return 0
    columns = f"{'kind':12} {'characters':>10} {'tokens':>9} {'entities':>8} {'s':>7} {'us/char':>8} {'MB more':>8}"
    print(columns, flush=True)
    for kind, size in itertools.product(given.kinds, given.sizes):
        command = [sys.executable, "-m", "bench.long_texts", str(given.bundle), "--alone"]
        subprocess.run([*command, "--kinds", kind, "--sizes", str(size)], check=True)
    return 0


def _measure(bundle: Path, kind: str, num_chars: int) -> None:
    """Print the row of one text; small ones are tagged again and again, for the median."""
    torch.set_num_threads(1)
    tagger = Tagger.load(bundle)
    tagger.tag([_ordinary(1000)])
    text = KINDS[kind](num_chars)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(1 if num_chars > 100_000 else 5):
        start = time.process_time()
        (tagged,) = tagger.tag_texts([text])
        seconds.append(time.process_time() - start)
    median = sorted(seconds)[len(seconds) // 2]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(
        f"{kind:12} {num_chars:10,} {tagged.num_tokens:9,} {len(tagged.entities):8,} {median:7.2f}"
        f" {median / num_chars * 1e6:8.1f} {memory / 1024:8.0f}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
