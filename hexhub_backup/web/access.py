"""Access: every request is checked before any of its body is read."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, current_app, request
from flask.typing import ResponseReturnValue
from flask_login import current_user  # type: ignore[import-untyped]
from werkzeug.exceptions import Forbidden, HTTPException, Unauthorized

from hexhub_backup.errors import SettingError, without_messages
from hexhub_backup.marking import marked
from hexhub_backup.web import current, tokens

_log = logging.getLogger("hexhub_backup")

#: The endpoint whose body is a whole archive: it reads its form itself.
UPLOAD = "restore_upload"
#: The endpoints of resumable uploads: all of them, and one of them, whose body is a part of it.
RESUMABLE = ("uploads", "upload")
#: The endpoint whose form may name all packages of an archive.
CHOICE = "decide"
#: The endpoint for monitoring systems, which have no session.
METRICS = "metrics"
#: Endpoints that a script calls, which can do nothing with a page to log in on.
_CHANNELS = ("live", "events", "token", *RESUMABLE)
#: Bytes: the forms of the pages are a few short fields.
_FORM_LENGTH = 64 * 1024
_CHOICE_LENGTH = 400 * 1024
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS", "TRACE")
_PORTS = {"http": ":80", "https": ":443"}

Authorize = Callable[[], bool]


def guard(blueprint: Blueprint, authorize: Authorize | None) -> None:
    """Allow only admins to use a blueprint, only from its own pages, and with a CSRF token for
    every change. Style sheets and scripts are for everybody.

    `authorize()` is called in each request, and every few seconds for an open websocket, where no
    `before_request` function has run. It has to return True itself (a merely truthy value means
    no), or raise an HTTPException. By default, users of Flask-Login are allowed who are
    authenticated, active and `is_admin`.
    """
    blueprint.record_once(
        lambda state: state.app.extensions.setdefault(current.AUTHORIZE, authorize or is_admin)
    )

    @blueprint.url_value_preprocessor
    def before_all_else(endpoint: str | None, values: dict[str, Any] | None) -> None:
        # A global CSRFProtect would read, and spool, the whole body of anybody. This is the one
        # place that runs before it, wherever the host made it; `enter` checks the token instead.
        if "csrf" in current_app.extensions:
            current_app.extensions["csrf"].exempt(blueprint)
        # Nor shall any other hook of the host: it gets a 413. An upload lifts it again.
        lengths = {CHOICE: _CHOICE_LENGTH, **dict.fromkeys((UPLOAD, *RESUMABLE), 0)}
        name = str(endpoint).removeprefix(f"{request.blueprint}.")
        request.max_content_length = lengths.get(name, _FORM_LENGTH)

    @blueprint.before_request
    def enter() -> ResponseReturnValue | None:
        if is_endpoint("static"):
            return None
        if is_endpoint(METRICS):
            return _enter_metrics()
        if is_foreign():
            raise Forbidden(marked("This came from a page of another site, so nothing was done."))
        if not _allowed():
            return _turn_away()
        if not current_app.secret_key:
            raise SettingError("This app has no SECRET_KEY, without which no form is safe: set it.")
        if request.method not in _SAFE_METHODS:
            token = request.headers.get("X-CSRFToken")
            reads_itself = any(map(is_endpoint, (UPLOAD, *RESUMABLE)))
            if token is None and not reads_itself:
                token = request.form.get(tokens.FIELD)
            if token is not None or not is_endpoint(UPLOAD):
                fields = () if reads_itself else request.form.items(multi=True)
                tokens.check_token(token, fields)
        return None


def _enter_metrics() -> ResponseReturnValue | None:
    """Turn away who may not read the metrics: everybody, where neither a token nor
    `authorize_metrics=` turns them on. Monitoring systems get a line of text, not a page."""
    authorize = current_app.extensions[current.AUTHORIZE_METRICS]
    token = current.backups().settings.metrics_token
    plain = {"Content-Type": "text/plain; charset=utf-8"}
    if authorize is not None:
        if current.ask(authorize) is not True:
            return "These metrics are not for everybody.\n", 403, plain
    elif token is None:
        return "There are no metrics here.\n", 404, plain
    else:
        sent = request.headers.get("Authorization", "")
        if not hmac.compare_digest(sent.encode(), f"Bearer {token}".encode()):
            bearer = {"WWW-Authenticate": "Bearer"}
            return "These metrics are for those who send their token.\n", 401, plain | bearer
    return None


def is_endpoint(name: str) -> bool:
    """Whether the request is for an endpoint of ours."""
    return request.endpoint == f"{request.blueprint}.{name}"


def is_admin() -> bool:
    """Whether Flask-Login's user is allowed. Raises SettingError in an app without Flask-Login."""
    if not hasattr(current_app, "login_manager"):
        raise SettingError(
            "Nobody can be allowed, because this app has no Flask-Login. Set it up, or pass "
            "'authorize=' and 'actor=' to init_app of hexhub_backup."
        )
    if current_user.is_authenticated and not hasattr(current_user, "is_admin"):
        raise Forbidden(
            "Backups are for administrators only, and the accounts of this app have no "
            "'is_admin'. Add one, or pass 'authorize=' to init_app of hexhub_backup."
        )
    flag = getattr(current_user, "is_admin", False)
    return bool(
        current_user.is_authenticated
        and current_user.is_active
        and (flag() if callable(flag) else flag)
    )


def is_foreign() -> bool:
    """Whether a page of another site has sent this request. Browsers always send the Origin of a
    websocket (RFC 6455, 10.2) and of a request that changes something.

    Hosts are compared, not schemes: behind a proxy that speaks TLS this process may see http.
    """
    origin = request.headers.get("Origin")
    if origin is None:
        return is_endpoint("live")
    if origin == "null":
        # A page of ours sends it too where the host's Referrer-Policy is 'no-referrer'.
        return request.headers.get("Sec-Fetch-Site") != "same-origin"
    try:
        parts = urlsplit(origin)
    except ValueError:
        return True
    if parts.scheme not in _PORTS or (request.is_secure and parts.scheme != "https"):
        return True
    # A proxy may name the default port of its scheme, which is not that of this process.
    return parts.netloc.lower() != request.host.lower().removesuffix(_PORTS[parts.scheme])


def still_allowed() -> Callable[[], bool]:
    """A function for a request that stays open, which returns whether it is still allowed.

    Each call has contexts of its own, so nothing is cached and no database session outlives it.
    An error of the host means no.
    """
    app, environ = current.app(), dict(request.environ)

    def ask() -> bool:
        try:
            with app.app_context(), app.request_context(environ):
                return _allowed()
        except HTTPException:
            return False
        except Exception as error:
            _log.error(
                "it could not be checked whether a watcher is still allowed",
                exc_info=without_messages(error),
            )
            return False

    return ask


def _allowed() -> bool:
    return current.ask(current_app.extensions[current.AUTHORIZE]) is True


def _turn_away() -> ResponseReturnValue:
    if not hasattr(current_app, "login_manager") or current_user.is_authenticated:
        raise Forbidden(marked("Backups are for administrators only."))
    if any(map(is_endpoint, _CHANNELS)):
        raise Unauthorized(marked("Log in again."))
    answer: ResponseReturnValue = current_app.login_manager.unauthorized()
    return answer
