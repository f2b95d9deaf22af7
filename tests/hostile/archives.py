"""The valid archives that hostile variants are made of, and how to make one hold together again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tests.support.archives import pack
from tests.support.instance import DATA

Members = dict[str, bytes]
Rows = dict[str, list[dict[str, Any]]]

TIME = "2026-01-31T10:30:00.000000Z"
LATER = "2026-02-01T10:30:00.000000Z"
PASSWORD = "pbkdf2:sha256:1000$salt$" + "ab" * 32
#: The four JSON members by the name that the manifest counts them under.
KINDS = {
    "users": "users.json",
    "packages": "packages/metadata.json",
    "releases": "releases.json",
    "owners": "owners.json",
}
SUMS = "SHA256SUMS"
MANIFEST = "manifest.json"
_LONG = "z" * 110


def _user(username: str, **fields: Any) -> dict[str, Any]:
    return {
        "username": username,
        "email": f"{username}@archive.example",
        "password_hash": PASSWORD,
        "totp_enabled": False,
        "service_account": False,
        "deactivated_at": None,
        "inserted_at": TIME,
        "updated_at": TIME,
    } | fields


def _package(name: str, **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "repository_name": "hexpm",
        "meta": {"licenses": ["MIT"], "description": "Größe 中文"},
        "private": False,
        "downloads": 7,
        "inserted_at": TIME,
        "updated_at": TIME,
        "html_url": f"/packages/{name}",
        "docs_html_url": None,
        "source": "local",
    } | fields


def _release(package: str, version: str, **fields: Any) -> dict[str, Any]:
    return {
        "package_name": package,
        "version": version,
        "has_docs": False,
        "meta": {"build_tools": ["mix"]},
        "requirements": {"jason": {"app": "jason", "optional": False, "requirement": "~> 1.0"}},
        "retired": None,
        "downloads": 3,
        "inserted_at": TIME,
        "updated_at": TIME,
        "url": f"/packages/{package}/releases/{version}",
        "package_url": None,
        "html_url": None,
        "docs_html_url": None,
    } | fields


def _owner(package: str, username: str) -> dict[str, Any]:
    return {"package_name": package, "username": username, "level": "full", "inserted_at": TIME}


ROWS: Rows = {
    "users": [_user("alice", totp_enabled=True), _user("bob"), _user("björn")],
    "packages": [_package("a"), _package("a-b"), _package("jason"), _package(_LONG)],
    "releases": [
        _release("a", "1.0.0-rc.1+exp.sha"),
        _release("a-b", "1", has_docs=True),
        _release("jason", "1.4.0", has_docs=True, retired={"reason": "security"}),
        _release(_LONG, "0.1.0"),
    ],
    "owners": [_owner("a", "alice"), _owner("a-b", "björn"), _owner("jason", "bob")],
}
FILES: Members = {
    "packages/a-1.0.0-rc.1+exp.sha.tar.gz": b"",
    "packages/a-b/a-b-1.tar.gz": b"x" * 512,
    "packages/jason-1.4.0.tar.gz": b"jason" * 300,
    f"packages/{_LONG}-0.1.0.tar.gz": b"long",
    "docs/a-b/a-b-1.tar.gz": b"d",
    "docs/jason-1.4.0.tar.gz": b"docs" * 200,
}


def encoded(rows: Iterable[dict[str, Any]]) -> bytes:
    lines = (json.dumps(row, ensure_ascii=False, sort_keys=True) for row in rows)
    return ("[\n" + ",\n".join(lines) + "\n]\n").encode()


def sums_of(members: Members) -> bytes:
    """SHA256SUMS as it has to be."""
    lines = (
        f"{hashlib.sha256(data).hexdigest()}  {name}\n"
        for name, data in members.items()
        if name not in (SUMS, MANIFEST)
    )
    return "".join(lines).encode()


def manifest_of(members: Members, rows: Rows) -> dict[str, Any]:
    """The manifest as it has to be, of an archive of ours."""
    return {
        "version": "1.0",
        "hex_hub_version": "1.2.3",
        "generator": "hexhub_backup 0.1.0",
        "created_at": TIME,
        "created_by": "admin",
        "contents": {name: len(rows[name]) for name in KINDS}
        | {
            "package_files": sum(
                name.startswith("packages/") and name.endswith(".tar.gz") for name in members
            ),
            "doc_files": sum(
                name.startswith("docs/") and name.endswith(".tar.gz") for name in members
            ),
            "total_size_bytes": sum(
                len(data) for name, data in members.items() if name != MANIFEST
            ),
        },
        "checksums": {
            name: f"sha256:{hashlib.sha256(members[name]).hexdigest()}"
            for name in (*KINDS.values(), SUMS)
            if name in members
        },
        "missing_files": [],
    }


@dataclass(frozen=True)
class Base:
    """A valid archive. One that is strict has SHA256SUMS; the other is HexHub's."""

    name: str
    members: Members
    rows: Rows
    strict: bool

    def sealed(self, changes: Members, rows: Rows | None = None) -> Members:
        """The members with changes, and everything that vouches for them made right again, so
        that a mutation is not found out by its checksum."""
        members = self.members | changes
        if self.strict:
            members[SUMS] = changes.get(SUMS) or sums_of(members)
        if MANIFEST not in changes:
            members[MANIFEST] = self.manifest(members, rows)
        return members

    def manifest(self, members: Members, rows: Rows | None = None, **changes: Any) -> bytes:
        document = manifest_of(members, rows or self.rows)
        if not self.strict:
            document["contents"]["total_size_bytes"] = 0
            document["checksums"] = {}
            document["created_by"] = "system"
            del document["generator"], document["missing_files"]
        return json.dumps(document | changes, indent=None if self.strict else 2).encode()

    @property
    def tar(self) -> bytes:
        return pack(self.members)


def _ours() -> Base:
    members = {KINDS[name]: encoded(rows) for name, rows in ROWS.items()} | FILES
    empty = Base("ours", members, ROWS, strict=True)
    return Base("ours", empty.sealed({}), ROWS, strict=True)


def _hexhub() -> Base:
    # As HexHub does: pretty, no order, a retired release as a second row, the manifest in between.
    rows = ROWS | {
        "releases": [
            _release("jason", "1.4.0", has_docs=True, updated_at=LATER, retired=True),
            *reversed(ROWS["releases"]),
        ]
    }
    documents = {
        KINDS[name]: json.dumps(found, indent=2, ensure_ascii=False, sort_keys=True).encode()
        for name, found in rows.items()
    }
    members = dict(sorted((documents | FILES | {MANIFEST: b""}).items()))
    empty = Base("hexhub", members, rows, strict=False)
    return Base("hexhub", empty.sealed({}), rows, strict=False)


OURS = _ours()
HEXHUB = _hexhub()
BASES = {base.name: base for base in (OURS, HEXHUB)}
#: An archive that HexHub itself has written.
REAL = (DATA / "hexhub-small.tar").read_bytes()
