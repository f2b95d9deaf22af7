"""The pages for administrators: how things stand, packages, users, audit log."""

from __future__ import annotations

from flask import abort, redirect, render_template, request, url_for
from flask_login import current_user  # type: ignore[import-untyped]
from sqlalchemy import func, select
from werkzeug.wrappers import Response

from examples.host_app.accounts import end_sessions, private_blueprint
from examples.host_app.audit import record_audit_event
from examples.host_app.models import ApiKey, AuditEvent, Owner, Package, Release, User, db, now
from examples.host_app.paging import paginate

blueprint = private_blueprint("admin", "/admin")

_NEWEST_EVENTS = select(AuditEvent).order_by(AuditEvent.at.desc(), AuditEvent.id.desc())


@blueprint.before_request
def _only_admins() -> None:
    if not current_user.is_admin:
        abort(403, "This page is for administrators.")


@blueprint.get("/")
def dashboard() -> str:
    counts = {
        "users": select(func.count(User.id)),
        "local packages": select(func.count(Package.id)).where(Package.source == "local"),
        "cached packages": select(func.count(Package.id)).where(Package.source != "local"),
        "releases": select(func.count(Release.id)),
        "owners": select(func.count(Owner.id)),
    }
    return render_template(
        "admin/dashboard.html",
        counts={what: db.session.scalar(query) for what, query in counts.items()},
        events=db.session.scalars(_NEWEST_EVENTS.limit(8)).all(),
    )


@blueprint.get("/packages")
def packages() -> str:
    releases = (
        select(func.count(Release.id)).where(Release.package_id == Package.id).scalar_subquery()
    )
    owners = select(func.count(Owner.id)).where(Owner.package_id == Package.id).scalar_subquery()
    page = paginate(select(Package).order_by(Package.name))
    shown = [package.id for package in page.items]
    counts = db.session.execute(
        select(Package.id, releases, owners).where(Package.id.in_(shown))
    ).all()
    return render_template(
        "admin/packages.html", page=page, counts={row[0]: row[1:] for row in counts}
    )


@blueprint.get("/users")
def users() -> str:
    page = paginate(select(User).order_by(User.username))
    shown = [user.id for user in page.items]
    keys = db.session.execute(
        select(ApiKey.user_id, func.count(ApiKey.id))
        .where(ApiKey.user_id.in_(shown))
        .group_by(ApiKey.user_id)
    ).all()
    return render_template("admin/users.html", page=page, keys={row[0]: row[1] for row in keys})


@blueprint.post("/users/<int(max=2147483647):number>/deactivate")
def deactivate(number: int) -> Response:
    return _set_active(number, active=False)


@blueprint.post("/users/<int(max=2147483647):number>/reactivate")
def reactivate(number: int) -> Response:
    return _set_active(number, active=True)


def _set_active(number: int, *, active: bool) -> Response:
    user = db.session.get(User, number)
    if user is None:
        abort(404, "There is no such user any more.")
    if user.id == current_user.id:
        abort(400, "You can not deactivate your own account. Ask another administrator.")
    user.updated_at = now()
    user.deactivated_at = None if active else user.updated_at
    username = user.username
    actor = current_user.username
    db.session.commit()
    if not active:
        # Else the account's old sessions would be back with it.
        end_sessions([username])
    record_audit_event(
        "user.reactivated" if active else "user.deactivated",
        actor=actor,
        address=request.remote_addr,
        details={"username": username},
    )
    return redirect(url_for("admin.users"), code=303)


@blueprint.get("/audit")
def audit() -> str:
    page = paginate(_NEWEST_EVENTS)
    return render_template("admin/audit.html", page=page)
