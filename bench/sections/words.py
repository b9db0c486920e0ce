"""How the share of distinct words in the texts grows, to compare our own texts with real ones."""

from __future__ import annotations

from itertools import pairwise

from bench.report import Report, Table
from bench.settings import Settings
from handler.text.tokens import tokenize


def run(report: Report, settings: Settings) -> None:
    """Count the words of the first 1,600 texts."""
    table = Table(f"Words of {settings.texts().name}", ("texts", "tokens", "distinct", "share", "new in the last part"))
    texts = settings.texts()
    seen: set[str] = set()
    num_tokens = 0
    for since, upto in pairwise((0, 100, 200, 400, 800, 1600)):
        words = [token.text for text in texts.take(upto - since) for token in tokenize(text)]
        new = len(set(words) - seen)
        seen.update(words)
        num_tokens += len(words)
        shares = [f"{share:.1%}" for share in (len(seen) / num_tokens, new / len(words))]
        table.rows.append([upto, num_tokens, len(seen), *shares])
    report.add(table)
