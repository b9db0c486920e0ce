"""The classic deployment: a model in a Flask application, one text at a time.

``flask --app 'bench.rivals.classic:create_app()' run`` is Flask's own server with a thread a request, ``gunicorn
--workers 2 'bench.rivals.classic:create_app()'`` has two processes with a model each.
"""

from __future__ import annotations

from typing import Any

import torch
from flask import Flask, request

from bench.rivals.plain import PlainTagger
from bench.serving import BUNDLE


def create_app() -> Flask:
    """The application; requests and replies of ``POST /predict`` are nerserve's, without scores."""
    torch.set_num_threads(1)  # faster than two for sentences, alone and in two processes
    tagger = PlainTagger(BUNDLE)
    app = Flask(__name__)

    def entities_of(text: str) -> dict[str, Any]:
        return {"entities": [entity._asdict() for entity in tagger.tag(text)]}

    @app.post("/predict")
    def predict() -> dict[str, Any]:
        document = request.get_json()
        if "texts" in document:
            return {"results": [entities_of(text) for text in document["texts"]]}
        return entities_of(document["text"])

    return app
