"""The page of an account: its API keys."""

from __future__ import annotations

from flask import abort, redirect, render_template, request, url_for
from flask_login import current_user  # type: ignore[import-untyped]
from werkzeug.wrappers import Response

from examples.host_app import api_keys
from examples.host_app.accounts import private_blueprint
from examples.host_app.audit import record_audit_event
from examples.host_app.models import db
from examples.host_app.refusals import RefusedError

blueprint = private_blueprint("key_pages", "/account")


@blueprint.get("/")
def index() -> str:
    return _page()


@blueprint.post("/keys")
def create_key() -> str | tuple[str, int]:
    """A new key, on this one page: only its hash is stored."""
    name = request.form.get("name", "").strip()
    try:
        key = api_keys.create(current_user, name)
    except RefusedError as error:
        return _page(name=name, problem=f"{error}."), 422
    db.session.commit()
    _record("key.created", name)
    return _page(key=key, key_name=name)


@blueprint.post("/keys/<int:number>/delete")
def delete_key(number: int) -> Response:
    found = next((each for each in api_keys.of(current_user) if each.id == number), None)
    if found is None:
        abort(404, "You have no such key.")
    name = found.name
    db.session.delete(found)
    db.session.commit()
    _record("key.deleted", name)
    return redirect(url_for(".index"), code=303)


def _page(**given: str) -> str:
    return render_template("account.html", keys=api_keys.of(current_user), **given)


def _record(event: str, name: str) -> None:
    record_audit_event(
        event,
        actor=current_user.username,
        address=request.remote_addr,
        details={"key": name},
    )
