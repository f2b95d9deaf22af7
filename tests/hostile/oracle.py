"""What an archive says, read by other code than ours: Python's tarfile, json and hashlib.

It is asked about archives that were restored only, and finds fault with the reader where it
should not have taken one, or with the restore where the registry is not what the archive says.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from datetime import datetime, timezone
from typing import Any

from tests.hostile.archives import KINDS, MANIFEST, SUMS

Record = dict[str, Any]
#: By name.
Members = dict[str, bytes]
#: Kind to key to record.
Registry = dict[str, dict[tuple[str, ...], Record]]

KEYS = {
    "users": ("username",),
    "packages": ("name",),
    "releases": ("package_name", "version"),
    "owners": ("package_name", "username"),
}
VOLATILE = {"downloads", "updated_at"}
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:?\d\d)?", re.ASCII
)
TIMES = {"inserted_at", "updated_at", "deactivated_at"}


class WronglyTakenError(Exception):
    """An archive was restored that no restore may take, or came in as something else."""


def unpacked(data: bytes) -> dict[str, bytes]:
    """The files of a tar, by name. Of fields that say nothing of a file, such as its owner's
    number, tarfile wants sense all the same: where it finds none, they are set to 0."""
    try:
        return _unpacked(data)
    except tarfile.ReadError:
        cleaned = bytearray(data)
        for at in range(0, len(data), 512):
            header = cleaned[at : at + 512]
            if header[257:262] == b"ustar":
                header[100:124], header[136:148], header[329:345] = b"0" * 24, b"0" * 12, b"0" * 16
                header[148:156] = b" " * 8
                header[148:156] = b"%06o\0 " % sum(header)
                cleaned[at : at + 512] = header
        return _unpacked(bytes(cleaned))


def _unpacked(data: bytes) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    end = 0
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        for info in archive:
            end = info.offset_data + -(-info.size // 512) * 512
            if info.isdir():
                continue
            name = info.name.removeprefix("./")
            if not info.isreg() or info.issparse() or name in found:
                raise WronglyTakenError(f"a member that is no file, or there twice: {name!r}")
            if name.startswith("/") or {"..", "", "."} & set(name.split("/")) or "\\" in name:
                raise WronglyTakenError(f"an unsafe name: {name!r}")
            file = archive.extractfile(info)
            assert file is not None
            found[name] = file.read()
            if len(found[name]) != info.size:
                raise WronglyTakenError(f"a member that ends too early: {name!r}")
    if any(data[end:]):
        # A header that it can not read it takes for the end.
        raise tarfile.ReadError("there is more")
    return found


def _object(pairs: list[tuple[str, Any]]) -> Record:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise WronglyTakenError("an object with one key twice")
    return found


def _constant(name: str) -> None:
    raise WronglyTakenError(f"the number {name}")


def _strict(data: bytes) -> Any:
    return json.loads(data.decode(), object_pairs_hook=_object, parse_constant=_constant)


class Faulty:
    """Stands where no record may have anything; it is like nothing that a registry can hold."""


def _tolerant(data: bytes) -> Any:
    """One such row of HexHub's is left out, so that nothing of it may come in."""

    def pairs(found: list[tuple[str, Any]]) -> Any:
        members = dict(found)
        return members if len(members) == len(found) else {**members, "twice": Faulty()}

    def integer(digits: str) -> Any:
        return int(digits) if len(digits.lstrip("-")) <= 400 else Faulty()

    return json.loads(
        data.decode(),
        object_pairs_hook=pairs,
        parse_constant=lambda _: Faulty(),
        parse_int=integer,
    )


def _instant(text: str | None) -> datetime:
    if text is None:
        return datetime.min.replace(tzinfo=timezone.utc)
    match = _TIME.fullmatch(text)
    if match is None:
        raise WronglyTakenError("a time that is none")
    day, clock, fraction, zone = match.groups()
    # In the one form that Python 3.10 reads, too.
    digits = f"{fraction or '0':0<6.6}"
    offset = {None: "+00:00", "Z": "+00:00"}.get(zone) or f"{zone[:3]}:{zone[-2:]}"
    return datetime.fromisoformat(f"{day}T{clock}.{digits}{offset}")


def _order(time: Any) -> datetime:
    """A time that is none makes a fault of the row, whatever its place."""
    try:
        return _instant(time)
    except (WronglyTakenError, TypeError, ValueError):
        return _instant(None)


def read(data: bytes) -> tuple[Registry, dict[str, bytes]]:
    """The records and the files of an archive, held to what its own manifest and sums say."""
    members = unpacked(data)
    manifest = _strict(members[MANIFEST])
    if manifest["version"] != "1.0":
        raise WronglyTakenError("a manifest of another version")
    strict = SUMS in members or manifest.get("generator") is not None
    strict = strict or bool(manifest.get("checksums"))
    parse = _strict if strict else _tolerant
    rows = {name: parse(members[member]) for name, member in KINDS.items()}
    files = {
        name: data
        for name, data in members.items()
        if name.endswith(".tar.gz") and name.startswith(("packages/", "docs/"))
    }
    _check_counts(manifest, rows, files, members, strict=strict)
    if strict:
        _check_sums(members, files, manifest)
    registry: Registry = {}
    for name, found in rows.items():
        registry[name] = {}
        for row in found:
            key = tuple(row[field] for field in KEYS[name])
            before = registry[name].get(key)
            if before is not None and strict:
                raise WronglyTakenError(f"two rows of one key in {name}: {key}")
            time = "inserted_at" if name == "owners" else "updated_at"
            if before is None or _order(before.get(time)) <= _order(row.get(time)):
                registry[name][key] = row
    return registry, files if strict else _of_releases(files, registry["releases"])


def _of_releases(files: dict[str, bytes], releases: dict[tuple[str, ...], Record]) -> Members:
    """The files of HexHub's, which lie flat, by the names that ours would have. One that several
    releases could have is none's."""
    claims: dict[str, list[str]] = {}
    for kind in ("packages", "docs"):
        for package, version in releases:
            own = member_of(kind, str(package), str(version))
            flat = f"{kind}/{package}-{version}.tar.gz"
            if flat in files and (own == flat or own not in files):
                claims.setdefault(flat, []).append(own)
    found = {name: data for name, data in files.items() if len(claims.get(name, "1")) == 1}
    return found | {owns[0]: files[flat] for flat, owns in claims.items() if len(owns) == 1}


def _check_counts(
    manifest: Record,
    rows: dict[str, list[Record]],
    files: dict[str, bytes],
    members: dict[str, bytes],
    *,
    strict: bool,
) -> None:
    actual = {name: len(found) for name, found in rows.items()}
    actual["package_files"] = sum(name.startswith("packages/") for name in files)
    actual["doc_files"] = len(files) - actual["package_files"]
    actual["total_size_bytes"] = sum(
        len(data) for name, data in members.items() if name != MANIFEST
    )
    for name, number in actual.items():
        told = manifest.get("contents", {}).get(name)
        if told != number and (strict or told not in ((None, 0) if "bytes" in name else (None,))):
            raise WronglyTakenError(f"a manifest that counts {told} {name} of {number}")


def _check_sums(members: dict[str, bytes], files: dict[str, bytes], manifest: Record) -> None:
    known = {*KINDS.values(), *files, SUMS, MANIFEST}
    if members.keys() != known:
        raise WronglyTakenError(f"members that are unknown: {members.keys() ^ known}")
    lines = members[SUMS].decode().splitlines()
    told = {line[66:]: line[:64] for line in lines}
    actual = {name: hashlib.sha256(data).hexdigest() for name, data in members.items()}
    for name in (*KINDS.values(), SUMS):
        if manifest["checksums"].get(name) != f"sha256:{actual[name]}":
            raise WronglyTakenError(f"a manifest with a wrong checksum of {name}")
    del actual[SUMS], actual[MANIFEST]
    if told != actual or len(lines) != len(told):
        raise WronglyTakenError("sums that are not those of the members")


def member_of(kind: str, package: str, version: str) -> str:
    folder = f"{kind}/{package}" if "-" in package else kind
    return f"{folder}/{package}-{version}.tar.gz"


def same(field: str, told: Any, stored: Any) -> bool:
    """Whether a column of the example host, as SQLite has it, holds what the archive says."""
    if field in TIMES and told is not None and stored is not None:
        moment = _instant(told).astimezone(timezone.utc).replace(tzinfo=None)
        return moment == datetime.fromisoformat(stored)
    if field in ("meta", "requirements", "retired") and isinstance(stored, str):
        return json.dumps(told, sort_keys=True) == json.dumps(json.loads(stored), sort_keys=True)
    # SQLite has no booleans, and makes a number of the text of one in a column for JSON.
    if isinstance(stored, (int, float)):
        return isinstance(told, (int, float)) and told == stored
    return bool(type(told) is type(stored) and told == stored)
