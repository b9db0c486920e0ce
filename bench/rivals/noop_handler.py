"""A TorchServe handler that does nothing: the time of its requests is TorchServe's own."""

from typing import Any


class NoopHandler:
    """Answers every request alike."""

    def initialize(self, context: Any) -> None:
        """Load nothing."""

    def handle(self, rows: list[Any], context: Any) -> list[str]:  # noqa: ARG002  (TorchServe's signature)
        """No entities for any of *rows*."""
        return ['{"entities":[]}'] * len(rows)
