"""What all parts of the API have in common: who asks, what comes, and what is answered.

A client sends its key or token in `Authorization`: a cookie opens nothing here, so that no page of
another site can do anything. Answers are Erlang terms for who accepts them, else JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import SpooledTemporaryFile
from typing import Any, BinaryIO, cast

from flask import Blueprint, Response, abort, g, request
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from examples.host_app import credentials, erlang_terms, publishing
from examples.host_app.audit import record_audit_event
from examples.host_app.models import Package, Release, User, db
from examples.host_app.refusals import NotOwnerError, RefusedError

_TERM, _JSON = "application/vnd.hex+erlang", "application/json"
#: Bytes of a term or of JSON, and of a package or docs file.
_BODY, _FILE = 64 << 10, 128 << 20
_IN_MEMORY = 1 << 20


def new_blueprint(name: str, prefix: str = "/api", *, for_accounts: bool = True) -> Blueprint:
    """A part of the API, for those who come with a key or token unless said otherwise."""
    blueprint = Blueprint(name, __name__, url_prefix=prefix)
    if for_accounts:
        blueprint.before_request(_find_account)
    blueprint.after_request(_forbid_caching)
    # Each by itself: the app has pages for some, which would go before one for all.
    for status in (400, 401, 403, 404, 413):
        blueprint.register_error_handler(status, _error)
    blueprint.register_error_handler(RefusedError, _refused)
    blueprint.register_error_handler(NotOwnerError, _not_owner)
    return blueprint


def _find_account() -> None:
    g.account = credentials.account_of_request()


def _forbid_caching(answer: AnyResponse) -> AnyResponse:
    answer.headers.setdefault("Cache-Control", "private, no-cache")
    answer.vary.update(["Accept", "Authorization"])
    return answer


# answers


def answer(document: Any, status: int = 200, **headers: str) -> Response:
    wanted = request.accept_mimetypes
    if wanted[_TERM] > wanted[_JSON]:
        return Response(erlang_terms.encode(document), status, headers, mimetype=_TERM)
    return Response(json.dumps(document), status, headers, mimetype=_JSON)


def done() -> Response:
    return Response(status=204)


def _error(error: HTTPException) -> Response:
    said = answer({"status": error.code, "message": error.description}, error.code or 500)
    for name, value in error.get_headers():
        if name != "Content-Type":
            said.headers[name] = value
    return said


def _refused(error: RefusedError) -> Response:
    db.session.rollback()
    message = "The request was refused, and nothing was changed."
    return answer({"status": 422, "message": message, "errors": {error.field: str(error)}}, 422)


def _not_owner(_error: NotOwnerError) -> Response:
    db.session.rollback()
    message = "Only an owner of the package may do this. Ask one to add your account."
    return answer({"status": 403, "message": message}, 403)


# what is asked, and by whom


def account() -> User:
    """Who asks. Aborts with 401 where no key came."""
    found: User | None = g.account
    if found is None:
        credentials.ask_for_one("This needs an API key. Set it as HEX_API_KEY.")
    return found


def package_of(name: str) -> Package:
    """A package that whoever asks may read. Aborts with 404 where there is none, and with 401 where
    a key is missing."""
    found = publishing.find(name)
    if found is None:
        abort(404, f"There is no package {name} in this registry.")
    if found.private and g.account is None:
        credentials.ask_for_one(f"The package {name} is private. Give a key to read it.")
    return found


def release_of(name: str, version: str) -> Release:
    """The same of a release."""
    found = publishing.find_release(package_of(name), version)
    return found or abort(404, f"There is no release {name} {version} in this registry.")


def body() -> dict[str, Any]:
    """What came, a map of a term or of JSON. Aborts with 400 for anything else."""
    data = request.stream.read(_BODY + 1)
    if len(data) > _BODY:
        abort(413, f"The request is larger than {_BODY} bytes.")
    try:
        found = erlang_terms.decode(data) if request.mimetype == _TERM else json.loads(data)
    except (ValueError, RecursionError) as error:
        abort(400, f"The request can not be read: {error}.")
    return found if isinstance(found, dict) else abort(400, "The request is no map.")


@contextmanager
def received() -> Iterator[BinaryIO]:
    """The file that came, from its beginning on. Aborts with 413 for one that is too large."""
    with SpooledTemporaryFile(_IN_MEMORY) as file:
        while chunk := request.stream.read(1 << 16):
            file.write(chunk)
            if file.tell() > _FILE:
                abort(413, f"The file is larger than {_FILE} bytes.")
        file.seek(0)
        yield cast(BinaryIO, file)


def record(event: str, found: Release | None = None, **details: Any) -> None:
    """Write to the audit log what whoever asks has done, to a release or otherwise."""
    if found is not None:
        details = {"package": found.package.name, "version": found.version}
    actor = account().username
    record_audit_event(event, actor=actor, address=request.remote_addr, details=details)
