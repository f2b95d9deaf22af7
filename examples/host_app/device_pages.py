"""The page on which somebody who is signed in confirms the code of a client."""

from __future__ import annotations

from flask import Blueprint, redirect, render_template, request, url_for
from flask_login import current_user  # type: ignore[import-untyped]
from werkzeug.wrappers import Response

from examples.host_app import devices
from examples.host_app.accounts import private_blueprint
from examples.host_app.audit import record_audit_event
from examples.host_app.models import DeviceCode
from examples.host_app.throttle import TooManyError

blueprint: Blueprint = private_blueprint("device_pages", "/oauth/device")

Page = tuple[str, int]


@blueprint.get("")
def ask() -> str:
    """For the code. A link may bring it along, and still somebody has to look at what asks."""
    return render_template("device.html", user_code=request.args.get("user_code", ""))


@blueprint.post("")
def show() -> str | Page:
    code = _waiting()
    return render_template("device.html", code=code) if isinstance(code, DeviceCode) else code


@blueprint.post("/allow")
def allow() -> Response | Page:
    return _decide(allowed=True)


@blueprint.post("/deny")
def deny() -> Response | Page:
    return _decide(allowed=False)


@blueprint.get("/<any(allowed, denied):outcome>")
def decided(outcome: str) -> str:
    return render_template("device.html", outcome=outcome)


def _decide(*, allowed: bool) -> Response | Page:
    code = _waiting()
    if not isinstance(code, DeviceCode):
        return code
    if not (devices.allow(code, current_user) if allowed else devices.deny(code)):
        return _not_known()
    outcome = "allowed" if allowed else "denied"
    record_audit_event(
        f"device.{outcome}",
        actor=current_user.username,
        address=request.remote_addr,
        details={"name": code.name, "address": code.address},
    )
    return redirect(url_for(".decided", outcome=outcome), code=303)


def _waiting() -> DeviceCode | Page:
    """What waits for the code of the form, or the page that says why nothing does."""
    try:
        found = devices.waiting(request.form.get("user_code", ""), current_user)
    except TooManyError as error:
        return _again(str(error)), 429
    return found or _not_known()


def _not_known() -> Page:
    return _again(
        "No client is waiting for this code. It may have expired: start again there."
    ), 422


def _again(problem: str) -> str:
    code = request.form.get("user_code", "")
    return render_template("device.html", user_code=code, problem=problem)
