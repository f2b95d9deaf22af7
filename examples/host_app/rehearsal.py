"""What a client would get of a registry that a rehearsal of its backups has restored."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session, selectinload

from examples.host_app import registry_messages
from examples.host_app import registry_pb2 as messages
from examples.host_app.files import Folder
from examples.host_app.models import Package
from hexhub_backup.hex.tarball import PackageFile, read_package

_SOME = 100


def releases(engine: Engine, folder: Path) -> Iterator[tuple[str, str | None]]:
    """Each release that is published here, as the repository would offer it: what to call it, and
    why no client could fetch it."""
    files = Folder(folder)

    def read(path: str) -> PackageFile:
        # Not by way of the cache, which is for what clients ask for.
        with files.open(path) as file:
            return read_package(file)

    published = select(Package).where(Package.source == "local").order_by(Package.id)
    with Session(engine) as session:
        found = session.scalars(
            published.options(selectinload(Package.releases)),
            execution_options={"yield_per": _SOME},
        )
        for package in found:
            answer = messages.Package.FromString(registry_messages.package(package, read))
            offered = {release.version for release in answer.releases}
            for release in package.releases:
                is_offered = release.version in offered
                problem = None if is_offered else "the repository does not offer it to clients"
                yield f"release {package.name} {release.version}", problem
