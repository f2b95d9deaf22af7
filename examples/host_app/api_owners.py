"""The part of the API on the owners of a package."""

from __future__ import annotations

from flask import Response, abort, g
from sqlalchemy import select

from examples.host_app import api_documents as documents
from examples.host_app import publishing
from examples.host_app.api import account, answer, body, done, new_blueprint, package_of, record
from examples.host_app.models import Owner, Package, User, db
from examples.host_app.refusals import NotOwnerError, RefusedError

blueprint = new_blueprint("api_owners")

_LEVELS = ("full", "maintainer")
#: In this order: a user name might be another's address.
_NAMES = ("email", "username")


@blueprint.get("/packages/<name>/owners")
def owners(name: str) -> Response:
    emails = g.account is not None
    return answer([documents.owner(each, with_email=emails) for each in package_of(name).owners])


@blueprint.get("/packages/<name>/owners/<who>")
def owner(name: str, who: str) -> Response:
    found = _owner(package_of(name), who)
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
    _let_own(found, {user: level} if transfer else {**_levels(found), user: level})
    record("owner.added", package=name, username=user.username, level=level, transfer=transfer)
    return done()


@blueprint.delete("/packages/<name>/owners/<who>")
def remove_owner(name: str, who: str) -> Response:
    found = _own(name)
    user = _owner(found, who).user
    levels = _levels(found)
    del levels[user]
    _let_own(found, levels)
    record("owner.removed", package=name, username=user.username)
    return done()


def _levels(found: Package) -> dict[User, str]:
    return {each.user: each.level for each in found.owners}


def _let_own(found: Package, levels: dict[User, str]) -> None:
    """Let these be the owners, and no others. Raises RefusedError."""
    if "full" not in levels.values():
        raise RefusedError("email", f"{found.name} would have no owner who may do everything")
    left = dict(levels)
    for each in found.owners:
        if each.user in left:
            each.level = left.pop(each.user)
        else:
            db.session.delete(each)
    db.session.add_all(
        Owner(package_id=found.id, user=user, level=level) for user, level in left.items()
    )
    db.session.commit()


def _owner(found: Package, who: str) -> Owner:
    """The owner with an address or user name. Who has no key is not told whose an address is."""
    columns = ("username",) if g.account is None else _NAMES
    called = (each for name in columns for each in found.owners if getattr(each.user, name) == who)
    return next(called, None) or abort(404, f"{who} is no owner of {found.name}.")


def _named(who: str) -> User:
    """Anybody with an address or user name."""
    by_each = (select(User).filter_by(**{name: who}) for name in _NAMES)
    found = next(filter(None, map(db.session.scalar, by_each)), None)
    return found or abort(404, f"There is no account {who}.")


def _own(name: str) -> Package:
    """A package in which whoever asks may do everything. Raises NotOwnerError."""
    user, found = account(), package_of(name)
    if not publishing.may_change(user, found, level="full"):
        raise NotOwnerError
    return found
