"""The time and the memory that long texts take: the numbers behind the limits.

Texts of several kinds and lengths are tagged in a process of their own each, on
one thread.  An ordinary text of 1,000,000 characters should cost at most 1.3
times as much a character as one of 10,000.  The kinds without a sentence end are
the costliest known; the limits in ``contract/limits.py`` are chosen by them.
Then one long text is compared with many short ones, also through a server.
"""

from __future__ import annotations

import multiprocessing
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Final

import requests
import torch

from bench.cli import KINDS, LENGTHS
from bench.errors import BenchError
from bench.load import authorization
from bench.memory import watched
from bench.report import Report, Table
from bench.rounds import Spread
from bench.serving import BUNDLE, running
from bench.settings import Settings
from handler.tagger import Tagger

LONG_CHARS: Final = 1_000_000
SHORT_CHARS: Final = 10_000
TIMEOUT_S: Final = 300.0

_SENTENCE: Final = "Barack Obama was born in Hawaii and worked for the United Nations in New York. "


def text_of(kind: str, num_chars: int) -> str:
    """A text of one of KINDS.

    >>> text_of("punctuation", 6), text_of("one word", 3), text_of("ordinary", 12), len(text_of("han", 5))
    ('!?;,!?', 'aaa', 'Barack Obama', 5)
    """
    pieces = {
        "ordinary": _SENTENCE,
        "unended": _SENTENCE.replace(".", ""),
        "punctuation": "!?;,",
        "han": "".join(map(chr, random.Random(1).choices(range(0x4E00, 0x9FFF), k=num_chars if kind == "han" else 0))),
        "one word": "a",
    }
    piece = pieces[kind]
    return (piece * (num_chars // len(piece) + 1))[:num_chars]


def run(report: Report, settings: Settings, kinds: Sequence[str] = KINDS, sizes: Sequence[int] = LENGTHS) -> None:
    """Measure everything and add it to *report*."""
    _kinds(report, kinds, sizes)
    _long_and_short(report, settings)


def _kinds(report: Report, kinds: Sequence[str], sizes: Sequence[int]) -> None:
    """A row for each kind and length, each measured in a process of its own."""
    columns = ("kind", "characters", "tokens", "entities", "s", "us/char", "MB more")
    table = Table("In process, one thread: a text by kind and length", columns, note="CPU time, resident memory")
    report.progress.begin(table.title, len(kinds) * len(sizes))
    context = multiprocessing.get_context("spawn")
    costs = {}
    for kind in kinds:
        for num_chars in sizes:
            report.progress.step(f"{kind}, {num_chars:,} characters")
            with ProcessPoolExecutor(1, context) as pool:
                *counts, cpu_s, memory_mb = pool.submit(measure, kind, num_chars).result()
            costs[kind, num_chars] = cpu_s / num_chars * 1e6
            table.rows.append([kind, num_chars, *counts, cpu_s, costs[kind, num_chars], memory_mb])
    report.add(table)
    if {("ordinary", LONG_CHARS), ("ordinary", SHORT_CHARS)} <= set(costs):
        grows = Spread.of([costs["ordinary", LONG_CHARS] / costs["ordinary", SHORT_CHARS]])
        report.expect(
            f"ordinary text: a character of {LONG_CHARS:,} over one of {SHORT_CHARS:,}", grows, 1.3, at_most=True
        )


def measure(kind: str, num_chars: int) -> tuple[int, int, float, float]:
    """Tokens and entities of a text, the CPU time in seconds and the MB that tagging takes in this, a new process.

    Short texts are tagged five times, for the median time.
    """
    torch.set_num_threads(1)
    tagger = Tagger.load(BUNDLE)
    tagger.tag([text_of("ordinary", 1000)])
    text = text_of(kind, num_chars)
    before_mb = _peak_mb()
    times = []
    for _ in range(1 if num_chars > 100_000 else 5):
        began_s = time.process_time()
        (tagged,) = tagger.tag_texts([text])
        times.append(time.process_time() - began_s)
    return tagged.num_tokens, len(tagged.entities), statistics.median(times), _peak_mb() - before_mb


def _peak_mb() -> float:
    """The peak of this process's resident memory; getrusage's would include that of the process that started it."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text("utf-8").splitlines())
    return int(status["VmHWM"].split()[0]) / 1024


def _long_and_short(report: Report, settings: Settings) -> None:
    """One text of LONG_CHARS and the same in texts of SHORT_CHARS: in process, and by one client of a server."""
    texts, text = settings.texts(), ""
    while len(text) < LONG_CHARS:
        text += " ".join(texts.take(1_000)) + " "
    text = text[:LONG_CHARS]
    parts = [text[i : i + SHORT_CHARS] for i in range(0, LONG_CHARS, SHORT_CHARS)]
    columns = ("", f"us/char, 1 x {LONG_CHARS:,}", f"us/char, {len(parts)} x {SHORT_CHARS:,}", "ratio")
    table = Table("One long text against many short ones", columns, note="wall-clock time, one client")
    memory_table = Table("Memory of the server meanwhile, in MB", ("process", "before", "at most", "more"))
    report.progress.begin(table.title, 3)

    def add(name: str, tag: Callable[[str], object]) -> None:
        report.progress.step(name)
        tag(parts[0])
        short_s = _seconds(tag, parts)
        long_s = _seconds(tag, [text])
        table.rows.append([name, long_s / LONG_CHARS * 1e6, short_s / LONG_CHARS * 1e6, long_s / short_s])

    torch.set_num_threads(1)  # as a worker
    tagger = Tagger.load(BUNDLE)
    add("in process", lambda text: tagger.tag([text]))
    with tempfile.TemporaryDirectory() as name, running(Path(name), options=["--max-chars", str(LONG_CHARS)]) as server:
        server.wait_for_workers()
        with watched(server.processes()) as memory:
            add("site", _client(f"{server.site}/api/predict"))
            add("port", _client(f"{server.inference}/predictions/en", server.inference_key))
        for process, (first_mb, most_mb) in memory.growth().items():
            memory_table.rows.append([process, first_mb, most_mb, most_mb - first_mb])
    report.add(table)
    report.add(memory_table)


def _seconds(tag: Callable[[str], object], texts: Sequence[str]) -> float:
    began_s = time.monotonic()
    for text in texts:
        tag(text)
    return time.monotonic() - began_s


def _client(url: str, key: Path | None = None) -> Callable[[str], object]:
    """Sends a text as plain text on one connection, with the key in the file *key*; BenchError unless 200 comes."""
    session = requests.Session()
    session.trust_env = False

    def tag(text: str) -> None:
        headers = {"Content-Type": "text/plain; charset=utf-8"} | authorization(key)
        reply = session.post(url, data=text.encode(), headers=headers, timeout=TIMEOUT_S)
        if reply.status_code != requests.codes.ok:
            raise BenchError(f"{url}: status {reply.status_code}: {reply.text[:200]}")

    return tag
