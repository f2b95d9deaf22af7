"""The part of the API on the owners of a package."""

from __future__ import annotations

from flask import Response, abort, g
from sqlalchemy import or_, select

from examples.host_app import api_documents as documents
from examples.host_app import publishing
from examples.host_app.api import account, answer, body, done, new_blueprint, package_of, record
from examples.host_app.models import Owner, Package, User, db
from examples.host_app.publishing import NotOwnerError, RefusedError

blueprint = new_blueprint("api_owners")

_LEVELS = ("full", "maintainer")


@blueprint.get("/packages/<name>/owners")
def owners(name: str) -> Response:
    emails = g.account is not None
    return answer([documents.owner(each, with_email=emails) for each in package_of(name).owners])


@blueprint.get("/packages/<name>/owners/<who>")
def owner(name: str, who: str) -> Response:
    found = _owner(package_of(name), _named(who))
    if found is None:
        abort(404, f"{who} is no owner of {name}.")
    return answer(documents.owner(found, with_email=g.account is not None))


@blueprint.put("/packages/<name>/owners/<who>")
def add_owner(name: str, who: str) -> Response:
    """Add an owner, or change the level; with `transfer` the package is theirs alone."""
    found, user, asked = _own(name), _named(who), body()
    transfer, level = asked.get("transfer") is True, asked.get("level") or "full"
    if level not in _LEVELS:
        raise RefusedError("level", f"It is one of {', '.join(_LEVELS)}")
    if transfer and level != "full":
        raise RefusedError("level", "Who gets the package gets all of it")
    if not user.is_active:
        raise RefusedError("email", "This account is deactivated")
    own = _owner(found, user)
    if own is None:
        db.session.add(Owner(package=found, user=user, level=level))
    else:
        own.level = level
    if transfer:
        for each in found.owners:
            if each.user_id != user.id and each.user is not user:
                db.session.delete(each)
    _keep_one(found, {user: level} | ({} if transfer else _levels(found, but=user)))
    db.session.commit()
    record("owner.added", package=name, username=user.username, level=level, transfer=transfer)
    return done()


@blueprint.delete("/packages/<name>/owners/<who>")
def remove_owner(name: str, who: str) -> Response:
    found, user = _own(name), _named(who)
    own = _owner(found, user)
    if own is None:
        abort(404, f"{who} is no owner of {name}.")
    _keep_one(found, _levels(found, but=user))
    db.session.delete(own)
    db.session.commit()
    record("owner.removed", package=name, username=user.username)
    return done()


def _levels(found: Package, *, but: User) -> dict[User, str]:
    return {each.user: each.level for each in found.owners if each.user is not but}


def _keep_one(found: Package, levels: dict[User, str]) -> None:
    if "full" not in levels.values():
        raise RefusedError("email", f"{found.name} would have no owner who may do everything")


def _owner(found: Package, user: User) -> Owner | None:
    return next((each for each in found.owners if each.user is user), None)


def _named(who: str) -> User:
    """Somebody by address or user name."""
    query = select(User).where(or_(User.email == who, User.username == who)).order_by(User.id)
    return db.session.scalars(query).first() or abort(404, f"There is no account {who}.")


def _own(name: str) -> Package:
    """A package in which whoever asks may do everything. Raises NotOwnerError."""
    user, found = account(), package_of(name)
    if not publishing.may_change(user, found, level="full"):
        raise NotOwnerError
    return found
