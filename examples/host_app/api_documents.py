"""What the API says of accounts, keys, packages and releases."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import url_for
from werkzeug.exceptions import NotFound

from examples.host_app import files, registry_messages, versions
from examples.host_app.models import ApiKey, Owner, Package, Release, User
from hexhub_backup.hex.tarball import TarballError

Document = dict[str, Any]


def account(user: User) -> Document:
    return {
        "username": user.username,
        "email": user.email,
        "organizations": [],
        "inserted_at": _time(user.inserted_at),
        "updated_at": _time(user.updated_at),
    }


def key(found: ApiKey, *, secret: str | None = None) -> Document:
    """A key, with the key itself where it has just been made."""
    document = {
        "name": found.name,
        "permissions": [{"domain": "api"}, {"domain": "repositories"}],
        "inserted_at": _time(found.inserted_at),
        "url": url_for("api_accounts.key", name=found.name, _external=True),
    }
    return document if secret is None else {**document, "secret": secret}


def owner(found: Owner, *, with_email: bool) -> Document:
    """An owner; their address is for who has a key."""
    document = {"username": found.user.username, "level": found.level}
    return {**document, "email": found.user.email} if with_email else document


def package(found: Package, *, with_emails: bool) -> Document:
    releases = sorted(found.releases, key=lambda each: each.inserted_at, reverse=True)
    names = [each.version for each in releases]
    latest = versions.latest(names)
    stable = versions.latest(names, stable=True)
    docs = url_for("pages.package_docs", name=found.name, _external=True)
    return {
        "name": found.name,
        "repository": registry_messages.REPOSITORY,
        "private": found.private,
        "meta": found.meta,
        "configs": _configs(found.name, stable or latest),
        "downloads": {"all": found.downloads},
        "latest_version": latest,
        "latest_stable_version": stable,
        "releases": [
            {
                "version": each.version,
                "has_docs": each.has_docs,
                "inserted_at": _time(each.inserted_at),
                "url": _url("release", found.name, version=each.version),
            }
            for each in releases
        ],
        "retirements": {
            each.version: _retirement(each.retired) for each in releases if each.retired
        },
        "owners": [owner(each, with_email=with_emails) for each in found.owners],
        "url": _url("package", found.name),
        "html_url": url_for("pages.package", name=found.name, _external=True),
        "docs_html_url": docs if any(each.has_docs for each in releases) else None,
        "inserted_at": _time(found.inserted_at),
        "updated_at": _time(found.updated_at),
    }


def release(found: Release) -> Document:
    name, version = found.package.name, found.version
    page = url_for("pages.release", name=name, version=version, _external=True)
    docs = url_for("pages.docs_file", name=name, version=version, _external=True)
    return {
        "version": version,
        "checksum": _checksum(found),
        "has_docs": found.has_docs,
        "meta": found.meta,
        "requirements": found.requirements,
        "retirement": _retirement(found.retired) if found.retired else None,
        "configs": _configs(name, version),
        "downloads": found.downloads,
        "url": _url("release", name, version=version),
        "package_url": _url("package", name),
        "html_url": page,
        "docs_html_url": docs if found.has_docs else None,
        "inserted_at": _time(found.inserted_at),
        "updated_at": _time(found.updated_at),
    }


def _checksum(found: Release) -> str | None:
    """The SHA-256 of the package file; None where that is missing or can't be used."""
    package = found.package
    path = files.path_of(package.source, "package", package.name, found.version)
    try:
        return registry_messages.package_file(path).outer_checksum.hex()
    except (NotFound, TarballError):
        return None


def _configs(name: str, version: str | None) -> dict[str, str]:
    """The lines that a project of each build tool needs."""
    if version is None:
        return {}
    repository = registry_messages.REPOSITORY
    return {
        "mix.exs": f'{{:{name}, "~> {version}", repo: "{repository}"}}',
        "rebar.config": f'{{{name}, "{version}"}}',
        "erlang.mk": f"dep_{name} = hex {version}",
    }


def _retirement(retired: Any) -> Document:
    """HexHub has true, or an object of `reason` and `message`."""
    said = retired if isinstance(retired, dict) else {}
    return {"reason": said.get("reason") or "other", "message": said.get("message")}


def _url(endpoint: str, name: str, **values: str) -> str:
    return url_for(f"api_packages.{endpoint}", name=name, _external=True, **values)


def _time(moment: datetime) -> str:
    return f"{moment.isoformat()}Z"
