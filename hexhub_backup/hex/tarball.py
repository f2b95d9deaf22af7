"""Package files, as Hex's package specification has them, read once and streamed.

A package file is an uncompressed tar of VERSION, CHECKSUM, metadata.config and contents.tar.gz;
CHECKSUM is the hex SHA-256 over the other three, in their order. It may stand anywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple

from hexhub_backup.archive.source import HashedFile, ReadableFile
from hexhub_backup.hex import erlang_text
from hexhub_backup.hex.tar import FILES, Member, TarError, TarStream
from hexhub_backup.marking import marked

_VERSION = b"3"
_CHECKSUM, _CONTENTS = "CHECKSUM", "contents.tar.gz"
#: The members, each with the one that has to stand before it: they are hashed in this order.
_BEFORE: Mapping[str, str | None] = {
    "VERSION": None,
    _CHECKSUM: None,
    "metadata.config": "VERSION",
    _CONTENTS: "metadata.config",
}
#: Bytes of a member other than the contents.
_LARGEST = 1 << 20


_BAD_REQUIREMENT = marked("a requirement in it has no name, or no text where one has to be")
NOT_FITTING = marked("its contents do not fit its CHECKSUM")


class TarballError(Exception):
    """Why a file is no package file, as a part of a sentence."""


class Requirement(NamedTuple):
    """What a release needs. `repository` is empty where its metadata names none."""

    package: str
    version: str
    app: str
    optional: bool
    repository: str


@dataclass(frozen=True)
class PackageFile:
    """What a package file says of itself, after its checksum was found to fit."""

    #: SHA-256 over VERSION, metadata.config and contents.tar.gz; of the whole file.
    inner_checksum: bytes
    outer_checksum: bytes
    metadata: dict[str, Any]
    #: By the name of what is needed.
    requirements: tuple[Requirement, ...]


@dataclass
class Scanned:
    """The same, whether or not it fits: there is one of each release that is backed up."""

    inner_checksum: bytes
    #: Empty where it was not asked for.
    outer_checksum: bytes
    #: What CHECKSUM says, in small letters.
    said_checksum: str
    #: The metadata.
    said: erlang_text.Pairs
    requirements: tuple[Requirement, ...]

    @property
    def fits(self) -> bool:
        return self.said_checksum == self.inner_checksum.hex()


def read_package(file: ReadableFile) -> PackageFile:
    """Read a package file from its first byte to its last; memory stays flat.

    Raises TarballError unless it has the four members, metadata that can be read, and a CHECKSUM
    that fits them.
    """
    found = scan_package(file)
    if not found.fits:
        raise TarballError(NOT_FITTING)
    metadata = found.said.as_dict()
    return PackageFile(found.inner_checksum, found.outer_checksum, metadata, found.requirements)


def scan_package(
    file: ReadableFile,
    *,
    contents: Callable[[Iterator[memoryview]], object] | None = None,
    outer: bool = True,
) -> Scanned:
    """As `read_package`, but for the CHECKSUM. `contents` gets the bytes of contents.tar.gz as they
    pass, if it is given; without `outer` the file as a whole is not hashed."""
    inner, whole = hashlib.sha256(), HashedFile(file) if outer else None

    def hashed(chunks: Iterator[memoryview]) -> Iterator[memoryview]:
        for chunk in chunks:
            inner.update(chunk)
            yield chunk

    tar = TarStream(file.read if whole is None else whole.read)
    small: dict[str, bytes] = {}
    try:
        for member in tar.members():
            name, type_, size, _ = member
            # What is no member of a package file would have to stand behind itself.
            before = _BEFORE.get(name, name)
            if (
                name in small
                or (before is not None and before not in small)
                or type_ not in FILES
                or (size > _LARGEST and name != _CONTENTS)
            ):
                raise _out_of_place(member, small)
            if name == _CONTENTS:
                small[name] = b""
                if contents is not None:
                    contents(hashed(tar.chunks()))
                for chunk in tar.chunks():
                    inner.update(chunk)
                continue
            small[name] = data = tar.whole()
            if name != _CHECKSUM:
                inner.update(data)
    except TarError as error:
        raise TarballError(str(error)) from error
    if len(small) < len(_BEFORE):
        missing = next(name for name in _BEFORE if name not in small)
        raise TarballError(marked(f"{missing} in it is missing"))
    outer_checksum = b"" if whole is None else bytes.fromhex(whole.rest())
    if small["VERSION"] != _VERSION:
        raise TarballError(marked("its VERSION is not 3, the only one that clients know"))
    try:
        said = erlang_text.read(_decoded(small["metadata.config"]))
        requirements = _requirements(said.get("requirements"))
    except ValueError as error:
        reason = str(error)
        raise TarballError(marked(f"its metadata.config can't be read: {reason}")) from error
    said_checksum = small[_CHECKSUM].decode("ascii", "replace").strip().lower()
    return Scanned(inner.digest(), outer_checksum, said_checksum, said, requirements)


def _out_of_place(member: Member, found: Mapping[str, bytes]) -> TarballError:
    """Why a member may not stand where it does, behind those that were found."""
    name = member.name
    if name not in _BEFORE:
        return TarballError(marked("it has other members than those of a package file"))
    if name in found:
        return TarballError(marked(f"it has {name} twice"))
    if member.type not in FILES:
        return TarballError(marked(f"{name} in it is no file"))
    before = _BEFORE[name]
    if before is not None and before not in found:
        return TarballError(marked(f"{before} in it is missing, or comes after {name}"))
    return TarballError(marked(f"{name} in it is larger than {_LARGEST} bytes"))


def _decoded(config: bytes) -> str:
    try:
        return config.decode()
    except UnicodeDecodeError:
        # As Erlang took it before there was a rule.
        return config.decode("latin-1")


def _requirements(given: Any) -> tuple[Requirement, ...]:
    """By the name of what is needed. Raises ValueError where they have another form."""
    if not given:
        return ()
    if isinstance(given, dict):  # the older form, which rebar3 writes still
        given = [{"name": name, **_properties(rule)} for name, rule in given.items()]
    found = list(map(_requirement, given if isinstance(given, list) else [given]))
    found.sort(key=attrgetter("package"))
    return tuple(found)


def _requirement(rule: object) -> Requirement:
    said = _properties(rule)
    name, version = said.get("name") or "", said.get("requirement") or ">= 0.0.0"
    app, repository = said.get("app") or name, said.get("repository") or ""
    if not (
        name
        and isinstance(name, str)
        and isinstance(version, str)
        and isinstance(app, str)
        and isinstance(repository, str)
    ):
        raise ValueError(_BAD_REQUIREMENT)
    return Requirement(name, version, app, said.get("optional") is True, repository)


def _properties(rule: object) -> Mapping[str, Any]:
    """An empty property list is read as a list."""
    if isinstance(rule, dict):
        return rule
    if rule != []:
        raise ValueError(_BAD_REQUIREMENT)
    return {}
