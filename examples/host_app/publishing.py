"""What owners do to releases: publish them, with docs, and revert and retire them."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, BinaryIO

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import selectinload

from examples.host_app import files, versions
from examples.host_app.models import Owner, Package, Release, User, db, now
from examples.host_app.refusals import NotOwnerError, RefusedError
from hexhub_backup.archive.rules.strict_json import find_problem
from hexhub_backup.hex.tarball import PackageFile, TarballError, read_package

#: For so long a public release may be replaced and reverted: by then others may rely on it.
GRACE = timedelta(hours=1)
REASONS = ("other", "invalid", "security", "deprecated", "renamed")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_LONGEST = 255
#: Characters of the message of a retirement.
_MESSAGE = 140
#: Files in the docs of a release, and their bytes all together.
_DOCS_FILES, _DOCS_BYTES = 20_000, 512 << 20
#: What is said of a package, and asked of it, in few statements.
WITH_ALL = (
    selectinload(Package.releases),
    selectinload(Package.owners).joinedload(Owner.user),
)
_META = ("description", "licenses", "links", "maintainers", "extra")


def find(name: str) -> Package | None:
    """A package that was published here, by its very name: a database may not tell upper case
    from lower."""
    query = select(Package).where(Package.name == name).options(*WITH_ALL)
    found = db.session.scalar(query)
    return found if found and (found.name, found.source) == (name, "local") else None


def find_release(package: Package, version: str) -> Release | None:
    return next((each for each in package.releases if each.version == version), None)


def may_change(account: User, package: Package, *, level: str | None = None) -> bool:
    """Whether an account is an owner; with `level`, whether it is one of that level."""
    return any(
        each.user_id == account.id and level in (None, each.level) for each in package.owners
    )


def publish(account: User, name: str, file: BinaryIO, *, replace: bool) -> tuple[Release, bool]:
    """Take in a package file, the new release's or one that replaces it. Gives the release, and
    whether it is new.

    Raises RefusedError, and NotOwnerError where the package is that of others.
    """
    try:
        found = read_package(file)
    except TarballError as error:
        why = str(error)
        raise RefusedError("tar", f"{why[:1].upper()}{why[1:]}") from error
    version = _checked(name, found)
    meta = {key: found.metadata.get(key) for key in ("app", "build_tools", "elixir")}
    of_package = {key: found.metadata[key] for key in _META if found.metadata.get(key)}
    requirements = {
        each.package: {"requirement": each.version, "app": each.app, "optional": each.optional}
        for each in found.requirements
    }
    for each in (meta, of_package, requirements):
        _refuse_unfit("tar", each)
    package = find(name)
    if package is None:
        package = _new_package(account, name)
    elif not may_change(account, package):
        raise NotOwnerError
    release = find_release(package, version)
    is_new = release is None
    if release is None:
        if any(each.version.lower() == version.lower() for each in package.releases):
            raise RefusedError("version", f"There is a release {version} in other capitals")
        release = Release(package=package, version=version)
        db.session.add(release)
    elif not replace:
        raise RefusedError("inserted_at", "This release is there already: replace it, if you may")
    else:
        _refuse_late(release, "replaced")
    release.meta, release.requirements = meta, requirements
    release.updated_at = package.updated_at = now()
    package.meta = of_package
    try:
        # The database says who is first, before there is a file.
        db.session.flush()
    except IntegrityError as error:
        db.session.rollback()
        raise RefusedError("version", "Somebody else has just published it") from error
    file.seek(0)
    _store(release, "package", file)
    db.session.commit()
    return release, is_new


def publish_docs(release: Release, file: BinaryIO) -> None:
    """Take in the docs of a release. Raises RefusedError."""
    _check_docs(file)
    file.seek(0)
    _store(release, "docs", file)
    release.has_docs = True
    release.updated_at = now()
    db.session.commit()


def revert_docs(release: Release) -> None:
    release.has_docs = False
    release.updated_at = now()
    db.session.commit()
    files.of_app().remove(_path(release, "docs"))


def revert(release: Release) -> None:
    """Take a release back, and its package where that has no other. Raises RefusedError."""
    _refuse_late(release, "reverted")
    package, gone = release.package, [_path(release, each) for each in ("package", "docs")]
    db.session.delete(release)
    db.session.flush()
    db.session.refresh(package, ["releases"])
    if not package.releases:
        db.session.execute(delete(Owner).where(Owner.package_id == package.id))
        db.session.delete(package)
    db.session.commit()
    # What is left behind by a crash is a file that no release has.
    for path in gone:
        files.of_app().remove(path)


def retire(release: Release, reason: object, message: object) -> None:
    """Warn whoever uses a release. Raises RefusedError."""
    if reason not in REASONS:
        raise RefusedError("reason", f"It is one of {', '.join(REASONS)}")
    if message is not None and not (isinstance(message, str) and len(message) <= _MESSAGE):
        raise RefusedError("message", f"It is a text of up to {_MESSAGE} characters")
    _refuse_unfit("message", {"message": message})
    _set_retired(release, {"reason": reason, "message": message})


def _refuse_unfit(field: str, value: dict[str, Any]) -> None:
    """Refuse what no archive can hold, such as a text with a NUL: no backup of a registry that has
    it could be made. Raises RefusedError."""
    if (problem := find_problem(value)) is not None:
        raise RefusedError(field, f"What it says can't be kept: {problem}")


def unretire(release: Release) -> None:
    _set_retired(release, None)


def _set_retired(release: Release, retired: dict[str, object] | None) -> None:
    release.retired = retired
    release.updated_at = now()
    db.session.commit()


def _new_package(account: User, name: str) -> Package:
    if db.session.scalar(select(Package.id).where(Package.name == name)) is not None:
        raise RefusedError(
            "name", f"{name} is a package of another registry, or one in other capitals"
        )
    package = Package(name=name, source="local", releases=[], owners=[])
    package.owners.append(Owner(user=account, level="full"))
    db.session.add(package)
    return package


def _checked(name: str, found: PackageFile) -> str:
    """The version that a package file is of. Raises RefusedError."""
    metadata = found.metadata
    if metadata.get("name") != name:
        raise RefusedError("name", f"The package file is one of {metadata.get('name')}")
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        raise RefusedError("name", "It has small letters, digits and _, and begins with a letter")
    version = metadata.get("version")
    if not isinstance(version, str) or not versions.is_version(version) or len(version) > _LONGEST:
        raise RefusedError("version", "It is no version of Semantic Versioning, such as 1.0.0")
    for field, is_right in (
        ("app", _is_text(metadata.get("app"))),
        ("description", _is_text(metadata.get("description"))),
        ("build_tools", bool(metadata.get("build_tools"))),
        *((each, _are_texts(metadata.get(each))) for each in ("build_tools", "licenses", "links")),
    ):
        if not is_right:
            raise RefusedError(field, "It is missing, or has another form")
    return version


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _are_texts(values: object) -> bool:
    """A list or a mapping of texts, or nothing."""
    found = values.values() if isinstance(values, Mapping) else values or []
    return isinstance(found, Iterable) and not isinstance(found, str) and all(map(_is_text, found))


def _refuse_late(release: Release, done: str) -> None:
    if not release.package.private and now() - release.inserted_at > GRACE:
        hours = GRACE // timedelta(hours=1)
        raise RefusedError(
            "inserted_at", f"A public release can be {done} for {hours} hour after it was published"
        )


def _check_docs(file: BinaryIO) -> None:
    """That it is a gzipped tar of files, of no more than there may be."""
    left, count = _DOCS_BYTES, 0
    try:
        with tarfile.open(fileobj=file, mode="r|gz") as tar:
            for member in tar:
                count += 1
                left -= member.size
                if left < 0 or count > _DOCS_FILES:
                    raise RefusedError("tar", "The docs are too large")
                if not (member.isfile() or member.isdir()):
                    raise RefusedError("tar", f"{member.name} in the docs is no file")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise RefusedError("tar", "The docs are no gzipped tar, or a part is missing") from error


def _path(release: Release, file_type: files.FileType) -> str:
    package = release.package
    return files.path_of(package.source, file_type, package.name, release.version)


def _store(release: Release, file_type: files.FileType, file: BinaryIO) -> None:
    with files.of_app().new(_path(release, file_type)) as stored:
        while chunk := file.read(1 << 16):
            stored.write(chunk)
