"""A TorchServe handler that does nothing: what is left of a request's time is TorchServe's own."""

from typing import Any


class NoopHandler:
    """Answers every request with the same."""

    def initialize(self, context: Any) -> None:
        """Load nothing."""

    def handle(self, rows: list[Any], context: Any) -> list[str]:  # noqa: ARG002  (TorchServe's signature)
        """No entities for any of *rows*."""
        return ['{"entities":[]}'] * len(rows)
