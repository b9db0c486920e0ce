"""What all views share: the settings, the way to the models and the rules for a model's name and a text's length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, cast

from flask import Flask, current_app

from web.client import ModelClient
from web.config import WebConfig
from web.errors import RequestTooLargeError, TextTooLongError, UnknownModelError
from web.keys import KeyFile

_EXTENSION: Final = "nerserve"


@dataclass(frozen=True)
class Service:
    """One site: its settings and its client, made once and shared by all threads."""

    config: WebConfig
    client: ModelClient

    @classmethod
    def new(cls, config: WebConfig) -> Service:
        """A service with a client of its own."""
        client = ModelClient(
            inference_url=config.inference_url,
            timeout_s=config.timeout_s,
            num_connections=config.num_threads,
            key_file=None if config.inference_key_file is None else KeyFile(config.inference_key_file),
            ca_file=config.ca_file,
        )
        return cls(config, client)

    def install(self, app: Flask) -> None:
        """Make this the service of *app*."""
        app.extensions[_EXTENSION] = self

    @staticmethod
    def current() -> Service:
        """The service of the app that handles this request."""
        return cast(Service, current_app.extensions[_EXTENSION])

    def model_named(self, name: str | None) -> str:
        """*name* if it is on the allow-list, the default model for None; raises UnknownModelError."""
        if name is None:
            return self.config.models[0]
        if name not in self.config.models:
            raise UnknownModelError(f"There is no such model here. The models are: {', '.join(self.config.models)}.")
        return name

    def check_length(self, text: str) -> None:
        """Raise TextTooLongError for more than ``max_chars`` code points, so that TorchServe is not bothered."""
        if len(text) > self.config.max_chars:
            raise TextTooLongError(
                f"The text is too long: it has {len(text):,} characters, the limit is {self.config.max_chars:,}."
            )

    def body_too_large(self) -> RequestTooLargeError:
        """The error for a body that was not even read."""
        return RequestTooLargeError(
            f"The request is too large: the limit is {self.config.max_body_bytes:,} bytes, "
            f"which holds any text of {self.config.max_chars:,} characters."
        )
