"""The part of the API on who asks: the account, and its keys."""

from __future__ import annotations

from flask import Response, abort, request

from examples.host_app import api_documents as documents
from examples.host_app import api_keys, publishing
from examples.host_app.api import account, answer, body, done, new_blueprint, package_of, record
from examples.host_app.models import ApiKey, db
from examples.host_app.refusals import NotOwnerError, RefusedError

blueprint = new_blueprint("api_accounts")

_DOMAINS = ("api", "package", "repository", "repositories")


@blueprint.get("/users/me")
def me() -> Response:
    return answer(documents.account(account()))


@blueprint.get("/auth")
def auth() -> Response:
    """204 where the key may do what is asked for."""
    domain, resource = request.args.get("domain", "api"), request.args.get("resource", "")
    user = account()
    if domain == "package" and not publishing.may_change(user, package_of(resource)):
        raise NotOwnerError
    if domain not in _DOMAINS:
        raise RefusedError("domain", f"There is nothing with the name {domain} that a key opens")
    return done()


@blueprint.get("/keys")
def keys() -> Response:
    return answer([documents.key(each) for each in api_keys.of(account())])


@blueprint.post("/keys")
def new_key() -> Response:
    owner, asked = account(), body()
    name, permissions = asked.get("name"), asked.get("permissions")
    if not isinstance(name, str):
        raise RefusedError("name", "It is missing")
    if permissions and {"domain": "api"} not in permissions:
        raise RefusedError("permissions", "There are only keys here that may do everything")
    secret = api_keys.create(owner, name)
    db.session.commit()
    record("key.created", key=name)
    return answer(documents.key(_key(name), secret=secret), 201)


@blueprint.delete("/keys")
def delete_keys() -> Response:
    """All of them, also the one with which it is asked."""
    return _delete(api_keys.of(account()))


@blueprint.get("/keys/<name>")
def key(name: str) -> Response:
    return answer(documents.key(_key(name)))


@blueprint.delete("/keys/<name>")
def delete_key(name: str) -> Response:
    return _delete([_key(name)])


def _key(name: str) -> ApiKey:
    found = next((each for each in api_keys.of(account()) if each.name == name), None)
    return found or abort(404, f"You have no key {name}.")


def _delete(found: list[ApiKey]) -> Response:
    names = [each.name for each in found]
    for each in found:
        db.session.delete(each)
    db.session.commit()
    for name in names:
        record("key.deleted", key=name)
    return done()


@blueprint.route("/", defaults={"path": ""}, methods=["GET", "POST", "PUT", "DELETE"])
@blueprint.route("/<path:path>", methods=["GET", "POST", "PUT", "DELETE"])
def nothing(path: str) -> Response:
    abort(404, f"There is nothing at /api/{path}.")
