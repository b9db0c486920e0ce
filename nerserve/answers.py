"""Answers to texts, and the model in this process that gives them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from contract.entities import Entity, ModelInfo
from contract.errors import RequestError
from contract.limits import RequestLimits
from contract.options import Options

if TYPE_CHECKING:
    from nerserve.model import Model


class Failure(NamedTuple):
    """Why a text has no answer, as the API says it."""

    code: str
    message: str


class Answer(NamedTuple):
    """The entities of a text as *model* finds them, or why there are none."""

    model: ModelInfo | None
    entities: Sequence[Entity]
    failure: Failure | None = None

    @classmethod
    def of_error(cls, error: RequestError) -> Answer:
        """That the text itself cannot be used."""
        return cls(None, (), Failure(error.code, str(error)))

    def to_json(self) -> dict[str, Any]:
        """The reply of the API."""
        if self.failure is not None or self.model is None:
            return {"error": {} if self.failure is None else self.failure._asdict()}
        return {"model": self.model._asdict(), "entities": [entity._asdict() for entity in self.entities]}


class Answerer(Protocol):
    """Answers some texts at once."""

    def answer(self, texts: Sequence[str]) -> list[Answer]:
        """An answer to each of *texts*."""


@dataclass(frozen=True)
class Local:
    """*model* in this process, within the *limits* of a server with the same settings."""

    model: Model
    limits: RequestLimits
    options: Options

    def answer(self, texts: Sequence[str]) -> list[Answer]:
        """An answer to each of *texts*."""
        answers: list[Answer | None] = []
        for text in texts:
            try:
                self.limits.check_text(text)
                answers.append(None)
            except RequestError as error:
                answers.append(Answer.of_error(error))
        right = [text for text, answer in zip(texts, answers, strict=True) if answer is None]
        found = iter(self.model.tag(right, self.options))
        return [Answer(self.model.info, next(found)) if answer is None else answer for answer in answers]
