"""The site as a WSGI application: settings, blueprints, error handlers."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

from flask import Flask, Response, jsonify, render_template, request, url_for
from flask.json.provider import DefaultJSONProvider
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from contract.errors import (
    InternalError,
    MalformedRequestError,
    MethodNotAllowedError,
    NotFoundError,
    RequestTooLargeError,
    ServingError,
    UnsupportedMediaTypeError,
)
from contract.strict_json import to_json
from web import api, health, pages
from web.access import AccessLog
from web.config import WebConfig
from web.hosts import AllowedHosts
from web.record import record_of
from web.reference import docs
from web.render import displayable, percent
from web.service import Service
from web.shedding import Shedding

_CODES: Final = {
    error.status: error.code
    for error in (
        MalformedRequestError,
        NotFoundError,
        MethodNotAllowedError,
        RequestTooLargeError,
        UnsupportedMediaTypeError,
        InternalError,
    )
}
"""Codes of what Flask and Werkzeug refuse by themselves."""

_MESSAGES: Final = {error.status: error.example for error in (NotFoundError, MethodNotAllowedError)}
"""What is said where the address is wrong, rather than the status's own name."""

_API: Final = ("/api/", "/livez", "/readyz", "/metrics", "/openapi")
"""What the addresses begin with that only programs ask."""

_TITLES: Final = {
    400: ("Bad request", "Your browser sent something we do not understand."),
    404: ("Page not found", "There is no page at this address."),
    405: ("Not possible here", "This address does not take that kind of request."),
    500: ("Something went wrong", "This is our fault. Please try again in a moment."),
}

_YEAR_S: Final = 365 * 24 * 3600


def create_app(config: WebConfig | None = None) -> Flask:
    """The application for *config*, by default for the environment; raises SettingError for a wrong setting."""
    config = WebConfig.from_env() if config is None else config
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = config.limits.request_bytes
    app.config["MAX_FORM_MEMORY_SIZE"] = config.max_form_bytes
    app.config["SEND_FILE_MAX_AGE_DEFAULT"] = _YEAR_S  # asset() gives a changed file another address
    app.json = _ContractJSON(app)
    service = Service.new(config)
    service.install(app)
    shedding = Shedding(app.wsgi_app, service.admission)
    hosts = AllowedHosts(shedding, config.served_hosts)
    app.wsgi_app = AccessLog(hosts, service.metrics)  # type: ignore[method-assign]  # Flask's own way
    for module in (pages, api, health, docs):
        app.register_blueprint(module.blueprint)
    app.register_error_handler(ServingError, _answer_web_error)
    app.register_error_handler(HTTPException, _answer_http_error)
    app.add_template_filter(displayable)
    app.add_template_filter(percent)
    digests = _static_digests(Path(str(app.static_folder)))
    app.add_template_global(lambda name: url_for("static", filename=name, v=digests[name]), "asset")
    return app


class _ContractJSON(DefaultJSONProvider):
    """JSON as the contract writes it, with keys in its order."""

    sort_keys = False

    def response(self, *args: Any, **kwargs: Any) -> Response:
        """The response for an object of plain JSON types."""
        return Response(f"{to_json(self._prepare_response_obj(args, kwargs))}\n", content_type="application/json")


def _answer_web_error(error: ServingError) -> ResponseReturnValue:
    """JSON for an error of the API; the views of the pages handle their own."""
    record_of(request.environ).code = error.code
    response = jsonify(error.to_json())
    if error.retry_after_s is not None:
        response.headers["Retry-After"] = str(error.retry_after_s)
    return response, error.status


def _answer_http_error(error: HTTPException) -> ResponseReturnValue:
    """JSON for programs and a page for people, with the headers the error brings along (as Allow)."""
    status = error.code or 500
    headers = {name: value for name, value in error.get_headers(request.environ) if name != "Content-Type"}
    code = _CODES.get(status, "http_error")
    if status >= 400:
        record_of(request.environ).code = code
    is_sent = request.method in {"POST", "PUT"} and request.path != url_for("pages.predict")  # by no form of ours
    if is_sent or request.path.startswith(_API) or request.path == "/api":
        message = _MESSAGES.get(status, f"{error.name}.")
        return jsonify({"error": {"code": code, "message": message}}), status, headers
    title, explanation = _TITLES.get(status, (error.name, "The request could not be answered."))
    return render_template("error.html", title=title, explanation=explanation), status, headers


def _static_digests(folder: Path) -> dict[str, str]:
    """The start of each static file's SHA-256, by file name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:12] for path in folder.iterdir()}
