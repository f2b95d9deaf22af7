"""CSRF tokens: each change needs one. Open pages renew theirs, and what was sent with one that is
merely too old is asked for once more."""

from __future__ import annotations

from collections.abc import Iterable

from flask import Blueprint, current_app, request
from flask_wtf.csrf import CSRFError, generate_csrf, validate_csrf  # type: ignore[import-untyped]
from werkzeug.exceptions import Forbidden
from wtforms import ValidationError  # type: ignore[import-untyped]

from hexhub_backup.marking import marked

FIELD = "csrf_token"
_LIMIT = "WTF_CSRF_TIME_LIMIT"
#: Seconds: what Flask-WTF takes for the limit where the app sets none.
_DEFAULT_LIMIT = 3600
#: Of its time, after so much an open page renews its token.
_SHARE = 3
#: Seconds: no token is older.
_EVER = 100 * 365 * 86400
#: What nobody sends again without having typed it again: a confirmation and a private key.
_NOT_REPEATED = frozenset({FIELD, "replaces", "identity", "identity_file"})

Fields = Iterable[tuple[str, str]]


class OldTokenError(CSRFError):  # type: ignore[misc]
    """A token of this session that is merely too old. `fields` are those of the form it came with,
    as far as they may be sent once more."""

    def __init__(self, fields: Fields) -> None:
        super().__init__(
            marked("This page was open for too long, so nothing was changed. Send it again.")
        )
        self.fields = [(name, text) for name, text in fields if name not in _NOT_REPEATED]


def add_to(blueprint: Blueprint) -> None:
    """Add the address at which an open page renews its token."""
    blueprint.add_url_rule("/token", "token", renew)

    @blueprint.context_processor
    def for_pages() -> dict[str, int]:
        limit = current_app.config.get(_LIMIT, _DEFAULT_LIMIT)
        return {} if limit is None else {"token_renewal": max(1, int(limit) // _SHARE)}


def check_token(token: str | None, fields: Fields = ()) -> None:
    """Raises OldTokenError where the token is of this session and merely too old, with the fields
    it came with; CSRFError where it is none of this session. Both are a response 400."""
    if not current_app.config.get("WTF_CSRF_ENABLED", True):
        return
    try:
        validate_csrf(token)
    except ValidationError as error:
        try:
            validate_csrf(token, time_limit=_EVER)
        except ValidationError:
            raise CSRFError(
                "This page has expired, so nothing was changed. Reload it and try again."
            ) from error
        raise OldTokenError(fields) from None


def renew() -> dict[str, str]:
    """A new token, for a script of our pages alone. Aborts with 403 for one of another site."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        raise Forbidden(marked("This address is for the pages of this site."))
    return {"token": generate_csrf()}
