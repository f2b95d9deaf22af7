"""The page of an account: its API keys, and the clients that it is signed in with."""

from __future__ import annotations

from collections.abc import Sequence

from flask import abort, redirect, render_template, request, url_for
from flask_login import current_user  # type: ignore[import-untyped]
from werkzeug.wrappers import Response

from examples.host_app import api_keys, devices
from examples.host_app.accounts import private_blueprint
from examples.host_app.audit import record_audit_event
from examples.host_app.models import ApiKey, Device, db
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
    _record("key.created", key=name)
    return _page(key=key, key_name=name)


@blueprint.post("/keys/<int:number>/delete")
def delete_key(number: int) -> Response:
    return _delete(api_keys.of(current_user), number, "key.deleted", "key")


@blueprint.post("/devices/<int:number>/sign-out")
def sign_out_device(number: int) -> Response:
    return _delete(devices.of(current_user), number, "device.signed_out", "name")


def _delete(own: Sequence[ApiKey | Device], number: int, event: str, field: str) -> Response:
    found = next((each for each in own if each.id == number), None)
    if found is None:
        abort(404, "You have no such key, and no such client.")
    name = found.name
    db.session.delete(found)
    db.session.commit()
    _record(event, **{field: name})
    return redirect(url_for(".index"), code=303)


def _page(**given: str) -> str:
    return render_template(
        "account.html",
        keys=api_keys.of(current_user),
        devices=devices.of(current_user),
        **given,
    )


def _record(event: str, **details: str) -> None:
    record_audit_event(
        event,
        actor=current_user.username,
        address=request.remote_addr,
        details=details,
    )
