"""The kinds of records and the two kinds of files, as they stand in an archive.

All that is said of a kind is said here. A new kind is one more `Kind`, in `KINDS`, and what a
registry has to know of its rows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from json.encoder import encode_basestring_ascii
from typing import Any, Literal, NamedTuple

from hexhub_backup.marking import marked

#: One record: field to JSON value.
Record = dict[str, Any]
#: A record's identity: the texts of its key fields.
Key = tuple[str, ...]
#: `text`, `boolean`, `integer` and `object` as in JSON; `time` is an ISO 8601 text; `any` is
#: any JSON value. Null is one of each, but for key fields.
FieldType = Literal["text", "boolean", "integer", "object", "time", "any"]


def as_json(key: Key) -> str:
    """The key as an array in JSON, which `of_json` reads: a tenth of what `json` takes for it."""
    try:
        return f"[{', '.join(map(encode_basestring_ascii, key))}]"
    except TypeError:
        # A record that nobody has checked.
        return json.dumps(key)


def of_json(text: str) -> Key:
    """A key that `as_json` made."""
    if "\\" in text or not (text.startswith('["') and text.endswith('"]')):
        return tuple(json.loads(text))
    # A quote inside of a text has a backslash.
    return tuple(text[2:-2].split('", "'))


@dataclass(frozen=True, eq=False)
class Kind:
    """One kind of records.

    `name` is what the manifest and an outcome count it under, `one` what a record is called in
    messages, `member` where its records are. `key` are the fields that identify a record,
    `fields` those that HexHub writes. `parents` says which record of another kind a field names,
    `told` are the fields that a list of records says beside the key, where they say anything: by
    these words, or by their values where there are none.
    """

    name: str
    one: str
    member: str
    key: tuple[str, ...]
    fields: Mapping[str, FieldType]
    parents: Mapping[str, Kind] = field(default_factory=dict)
    told: Mapping[str, str] = field(default_factory=dict)

    @property
    def root(self) -> Kind:
        """The kind whose record the first field of the key names: `PACKAGES` of a release, the
        kind itself where it has no such parent. A record is chosen
        together with its root, and changed records are listed by the name of their root."""
        return self.parents.get(self.key[0], self)

    @property
    def children(self) -> tuple[Kind, ...]:
        """The kinds whose records name one of this kind."""
        return tuple(kind for kind in KINDS if self in kind.parents.values())

    @property
    def number(self) -> int:
        """The kind's place in `KINDS`."""
        return KINDS.index(self)

    @property
    def newest(self) -> str:
        """The field whose time says which of several rows of one key is the newest."""
        return "updated_at" if "updated_at" in self.fields else "inserted_at"

    def key_of(self, record: Record) -> Key:
        return tuple([record[field] for field in self.key])

    def label(self, key: Key) -> str:
        """`release jason 1.4.0`: how a record is called in messages."""
        return " ".join((self.one, *key))


USERS = Kind(
    marked("users"),
    marked("user"),
    "users.json",
    ("username",),
    {
        "username": "text",
        "email": "text",
        "password_hash": "text",
        "totp_enabled": "boolean",
        "service_account": "boolean",
        "deactivated_at": "time",
        "inserted_at": "time",
        "updated_at": "time",
    },
    told={
        "service_account": marked("service account"),
        "deactivated_at": marked("deactivated"),
    },
)
PACKAGES = Kind(
    marked("packages"),
    marked("package"),
    "packages/metadata.json",
    ("name",),
    {
        "name": "text",
        "repository_name": "text",
        "meta": "object",
        "private": "boolean",
        "downloads": "integer",
        "inserted_at": "time",
        "updated_at": "time",
        "html_url": "text",
        "docs_html_url": "text",
        "source": "text",
    },
    told={"private": marked("private")},
)
RELEASES = Kind(
    marked("releases"),
    marked("release"),
    "releases.json",
    ("package_name", "version"),
    {
        "package_name": "text",
        "version": "text",
        "has_docs": "boolean",
        "meta": "object",
        "requirements": "object",
        "retired": "any",
        "downloads": "integer",
        "inserted_at": "time",
        "updated_at": "time",
        "url": "text",
        "package_url": "text",
        "html_url": "text",
        "docs_html_url": "text",
    },
    {"package_name": PACKAGES},
    {"retired": marked("retired")},
)
OWNERS = Kind(
    marked("owners"),
    marked("owner"),
    "owners.json",
    ("package_name", "username"),
    {"package_name": "text", "username": "text", "level": "text", "inserted_at": "time"},
    {"package_name": PACKAGES, "username": USERS},
    {"level": ""},
)
#: In the order in which they are written: parents before children.
KINDS = (USERS, PACKAGES, RELEASES, OWNERS)

FileType = Literal["package", "docs"]
FILE_TYPES: tuple[FileType, ...] = ("package", "docs")
_FOLDERS: Mapping[FileType, str] = {"package": "packages", "docs": "docs"}

_SUFFIX = ".tar.gz"
#: What a part of a path may measure.
MAX_PART_BYTES = 255
# Such a part has to hold "{name}-{version}.tar.gz".
_MAX_NAME_BYTES = 240
_TOO_LONG = marked(f"the package name and version are longer than {_MAX_NAME_BYTES} bytes together")
# Nearly all names and versions are of these, and two of them are never too long together.
_PLAIN = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9_.+-]{0,99}/[A-Za-z0-9_+-][A-Za-z0-9_.+-]{0,99}")
# C0, DEL, C1, line and paragraph separators, halves of surrogate pairs, and what systems take for
# a separator.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f/\\]|[\u0080-\u009f\u2028\u2029\ud800-\udfff]")


class ReleaseFile(NamedTuple):
    """The package file or the docs file of one release."""

    type: FileType
    package: str
    version: str

    @property
    def label(self) -> str:
        """What its release is called in messages."""
        return RELEASES.label((self.package, self.version))

    @property
    def member(self) -> str:
        """The member's name. One folder deeper where the name has a `-`, so that no two
        releases share a member (`a` `b-1` and `a-b` `1`)."""
        folder = _FOLDERS[self.type]
        if "-" in self.package:
            folder = f"{folder}/{self.package}"
        return f"{folder}/{self.package}-{self.version}{_SUFFIX}"

    @property
    def flat_member(self) -> str:
        """The name that HexHub gives the member, whatever the package's name."""
        return f"{_FOLDERS[self.type]}/{self.package}-{self.version}{_SUFFIX}"


class FileEntry(NamedTuple):
    """Where a file is in the tar: `offset` and `size` of its bytes, and their SHA-256 in hex, once
    they were hashed."""

    member: str
    offset: int
    size: int
    sha256: str | None


def makes_a_folder_of(package: str) -> Key | None:
    """Which release has a file by the name of the folder of the package's files: the key of the
    one release that could, None where no release could."""
    if "-" not in package or not package.endswith(_SUFFIX):
        return None
    name, _, version = package.removesuffix(_SUFFIX).partition("-")
    return name, version


def unsafe_part(text: str) -> str | None:
    """Why a text can not be a part of the path of a member or of a stored file, or None where it
    can (CVE-2007-4559)."""
    if text in ("", ".", ".."):
        return marked("is empty, `.` or `..`")
    if _UNSAFE.search(text):
        return marked("holds a character that a file name must not have")
    if len(text.encode()) > MAX_PART_BYTES:
        return marked(f"is longer than {MAX_PART_BYTES} bytes")
    return None


def _unsafe_start(text: str) -> str | None:
    """Why no file name can begin with a text, or None where it can."""
    return unsafe_part(text) or (marked("begins with a dot") if text.startswith(".") else None)


def unsafe_name(package: str, version: str) -> str | None:
    """Why a release can not name a file, or None where it can.

    Member names and storage paths are made of these two.
    """
    if _PLAIN.fullmatch(f"{package}/{version}"):
        return None
    if len(package) + len(version) >= _MAX_NAME_BYTES:
        return _TOO_LONG
    if (why := _unsafe_start(package)) is not None:
        return marked(f"the package name {package!a} {why}")
    if (why := _unsafe_start(version)) is not None:
        return marked(f"the version {version!a} {why}")
    return _TOO_LONG if len(f"{package}-{version}".encode()) > _MAX_NAME_BYTES else None
