"""The messages of the repository, made of rows and of the package files that they belong to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from functools import lru_cache
from typing import Any

from flask import current_app
from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import selectinload
from werkzeug.exceptions import NotFound

from examples.host_app import files
from examples.host_app import registry_pb2 as messages
from examples.host_app.models import Package, Release, db
from hexhub_backup.hex.tarball import PackageFile, Requirement, TarballError, read_package

#: What `mix hex.repo add` has to call it: a client refuses what is signed for another name. The
#: `repository_name` of a row is HexHub's, and says hexpm of everything.
REPOSITORY = "acme"
#: Of a requirement that names none.
_UPSTREAM = "hexpm"
_REASONS = frozenset(messages.Reason.keys())


def names(*which: ColumnElement[bool]) -> bytes:
    """`Names` of the packages that are chosen."""
    answer = messages.Names(repository=REPOSITORY)
    rows = db.session.execute(select(Package.name, Package.updated_at).where(*which))
    for name, updated_at in sorted((name, at) for name, at in rows):
        answer.packages.add(name=name, updated_at=_timestamp(updated_at))
    return answer.SerializeToString()


def versions(*which: ColumnElement[bool]) -> bytes:
    """`Versions` of the packages that are chosen."""
    answer = messages.Versions(repository=REPOSITORY)
    query = select(Package).where(*which).options(selectinload(Package.releases))
    for package in sorted(db.session.scalars(query), key=lambda each: each.name):
        releases = _in_order(package.releases)
        answer.packages.add(
            name=package.name,
            versions=[release.version for release in releases],
            retired=[place for place, release in enumerate(releases) if release.retired],
        )
    return answer.SerializeToString()


def package(found: Package, read: Callable[[str], PackageFile] | None = None) -> bytes:
    """`Package`, with every release whose package file is there and whole. `read` reads the file of
    a path as `package_file` does, where it is not one of the app."""
    read = read or package_file
    answer = messages.Package(name=found.name, repository=REPOSITORY)
    for release in _in_order(found.releases):
        path = files.path_of(found.source, "package", found.name, release.version)
        try:
            file = read(path)
        except (NotFound, TarballError) as error:
            current_app.logger.warning(
                "Release %s %s is not offered to clients, as its package file can not be used "
                "(%s). Restore it from a backup.",
                found.name,
                release.version,
                error,
            )
            continue
        answer.releases.add(
            version=release.version,
            inner_checksum=file.inner_checksum,
            outer_checksum=file.outer_checksum,
            dependencies=_dependencies(file.requirements),
            retired=_retirement(release.retired),
            published_at=_timestamp(release.inserted_at),
        )
    return answer.SerializeToString()


def _in_order(releases: Iterable[Release]) -> list[Release]:
    """As they were published; not by id, which a restore gives anew."""
    return sorted(releases, key=lambda release: (release.inserted_at, release.version))


def package_file(path: str) -> PackageFile:
    """What a package file says, read again only where it is another. The checksums are kept
    nowhere else: so they fit the file after every restore, and HexHub's archives need none.

    Raises NotFound, and TarballError for one that can't be used.
    """
    return _package_file(path, files.of_app().stamp(path))


@lru_cache(4096)
def _package_file(path: str, _stamp: str) -> PackageFile:
    with files.of_app().open(path) as file:
        return read_package(file)


def _dependencies(requirements: Iterable[Requirement]) -> list[messages.Dependency]:
    """Rows hold the requirements too, but not the repository of each."""
    return [
        messages.Dependency(
            package=each.package,
            requirement=each.version,
            optional=each.optional,
            app=each.app,
            repository=None if each.repository == REPOSITORY else each.repository or _UPSTREAM,
        )
        for each in requirements
    ]


def _retirement(retired: Any) -> messages.Retirement | None:
    """HexHub has true, or an object of `reason` and `message`."""
    if not retired:
        return None
    said = retired if isinstance(retired, dict) else {}
    reason, message = str(said.get("reason")).upper(), said.get("message")
    return messages.Retirement(
        reason=reason if reason in _REASONS else "OTHER",
        message=message if isinstance(message, str) else None,
    )


def _timestamp(at: datetime) -> messages.Timestamp:
    seconds = int(at.replace(microsecond=0, tzinfo=timezone.utc).timestamp())
    return messages.Timestamp(seconds=seconds, nanos=at.microsecond * 1000)
