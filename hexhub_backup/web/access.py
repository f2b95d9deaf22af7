"""Who may come in: every request of ours passes here before anything of its body is read."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, current_app, request
from flask.typing import ResponseReturnValue
from flask_login import current_user  # type: ignore[import-untyped]
from flask_wtf.csrf import CSRFError, validate_csrf  # type: ignore[import-untyped]
from werkzeug.exceptions import Forbidden, HTTPException, Unauthorized
from wtforms import ValidationError  # type: ignore[import-untyped]

from hexhub_backup.errors import SettingError, without_messages
from hexhub_backup.web import here

_log = logging.getLogger("hexhub_backup")

#: The endpoint whose body is a whole archive: it reads its form itself.
UPLOAD = "restore_upload"
#: The endpoint whose form may name all packages of an archive.
CHOICE = "decide"
#: Endpoints that a script calls, which can do nothing with a page to log in on.
_CHANNELS = ("live", "events")
#: Bytes: the forms of the pages are a few short fields.
_FORM_LENGTH = 64 * 1024
_CHOICE_LENGTH = 400 * 1024
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS", "TRACE")
_PORTS = {"http": ":80", "https": ":443"}

Authorize = Callable[[], bool]


def guard(blueprint: Blueprint, authorize: Authorize | None) -> None:
    """Let only admins into a blueprint, only from its own pages, and only with a CSRF token
    where something is changed. Its style sheets and scripts are for everybody.

    `authorize()` is asked in each request, and every few seconds for an open websocket, where
    no `before_request` function has run. It returns True, and nothing that merely counts as
    true, or raises an HTTPException. Without it: a user of Flask-Login's who is authenticated,
    active and `is_admin`.
    """
    blueprint.record_once(
        lambda state: state.app.extensions.setdefault(here.AUTHORIZE, authorize or is_admin)
    )

    @blueprint.url_value_preprocessor
    def before_all_else(endpoint: str | None, values: dict[str, Any] | None) -> None:
        # A global CSRFProtect would read, and spool, the whole body of anybody. This is the one
        # place that runs before it, wherever the host made it; `enter` checks the token instead.
        if "csrf" in current_app.extensions:
            current_app.extensions["csrf"].exempt(blueprint)
        # Nor shall any other hook of the host: it gets a 413. The upload lifts it again.
        lengths = {UPLOAD: 0, CHOICE: _CHOICE_LENGTH}
        name = str(endpoint).removeprefix(f"{request.blueprint}.")
        request.max_content_length = lengths.get(name, _FORM_LENGTH)

    @blueprint.before_request
    def enter() -> ResponseReturnValue | None:
        if is_endpoint("static"):
            return None
        if is_foreign():
            raise Forbidden("This came from a page of another site, so that nothing was done.")
        if not _allowed():
            return _turn_away()
        if not current_app.secret_key:
            raise SettingError("This app has no SECRET_KEY, without which no form is safe: set it.")
        if request.method not in _SAFE_METHODS:
            token = request.headers.get("X-CSRFToken")
            if token is None and not is_endpoint(UPLOAD):
                token = request.form.get("csrf_token")
            if token is not None or not is_endpoint(UPLOAD):
                check_token(token)
        return None


def is_endpoint(name: str) -> bool:
    """Whether the request is for an endpoint of ours."""
    return request.endpoint == f"{request.blueprint}.{name}"


def is_admin() -> bool:
    """Whether Flask-Login's user may come in. Raises SettingError where there is none."""
    if not hasattr(current_app, "login_manager"):
        raise SettingError(
            "Nobody can be let in: this app has no Flask-Login. Give it one, or hand "
            "'authorize=' and 'actor=' to init_app of hexhub_backup."
        )
    if current_user.is_authenticated and not hasattr(current_user, "is_admin"):
        raise Forbidden(
            "Backups are for administrators only, and accounts here have no 'is_admin' that tells "
            "who is one: give them one, or hand 'authorize=' to init_app of hexhub_backup."
        )
    flag = getattr(current_user, "is_admin", False)
    return bool(
        current_user.is_authenticated
        and current_user.is_active
        and (flag() if callable(flag) else flag)
    )


def is_foreign() -> bool:
    """Whether a page of another site has sent this. Browsers always say so of a websocket
    (RFC 6455, 10.2) and of what changes something.

    Hosts are compared, not schemes: behind a proxy that speaks TLS this process may see http.
    """
    origin = request.headers.get("Origin")
    if origin is None:
        return is_endpoint("live")
    if origin == "null":
        # So says a page of ours too where the host's Referrer-Policy is 'no-referrer'.
        return request.headers.get("Sec-Fetch-Site") != "same-origin"
    try:
        parts = urlsplit(origin)
    except ValueError:
        return True
    if parts.scheme not in _PORTS or (request.is_secure and parts.scheme != "https"):
        return True
    # A proxy may name the default port of its scheme, which is not that of this process.
    return parts.netloc.lower() != request.host.lower().removesuffix(_PORTS[parts.scheme])


def check_token(token: str | None) -> None:
    """Raises CSRFError, an answer 400, where the token is not one of this session's."""
    if not current_app.config.get("WTF_CSRF_ENABLED", True):
        return
    try:
        validate_csrf(token)
    except ValidationError as error:
        raise CSRFError(
            f"{error} Nothing was done: go back, load the page again and send it once more."
        ) from error


def still_allowed() -> Callable[[], bool]:
    """A function for a request that stays open: whether it would be let in now.

    Each call asks in contexts of its own: nothing is cached, and no session to the database
    outlives it. What the host raises means no.
    """
    app, environ = here.app(), dict(request.environ)

    def ask() -> bool:
        try:
            with app.app_context(), app.request_context(environ):
                return _allowed()
        except HTTPException:
            return False
        except Exception as error:
            _log.error(
                "whether a watcher may stay could not be found out",
                exc_info=without_messages(error),
            )
            return False

    return ask


def _allowed() -> bool:
    return here.ask(current_app.extensions[here.AUTHORIZE]) is True


def _turn_away() -> ResponseReturnValue:
    if not hasattr(current_app, "login_manager") or current_user.is_authenticated:
        raise Forbidden("Backups are for administrators only.")
    if any(map(is_endpoint, _CHANNELS)):
        raise Unauthorized("Log in again.")
    answer: ResponseReturnValue = current_app.login_manager.unauthorized()
    return answer
