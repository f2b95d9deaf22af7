"""The checksums of an archive: the lines of SHA256SUMS, and what every member is verified by.

The manifest vouches for the JSON members and SHA256SUMS, SHA256SUMS for all members but these two.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NoReturn

from hexhub_backup.archive.faults import GET_AGAIN, FaultList, refuse, shown
from hexhub_backup.archive.rules.facts import Facts
from hexhub_backup.archive.rules.manifest import MANIFEST, SUMS, VOUCHED, Manifest
from hexhub_backup.errors import Fault

_SUM = re.compile(rb"([0-9a-f]{64}) [ *](.+)")
_MAX_LINE_BYTES = 64 * 1024


def mismatch(member: str) -> Fault:
    """The fault of a member that has another checksum than the archive says."""
    return Fault("checksum_mismatch", f"it is damaged; {GET_AGAIN}", shown(member))


def check_checksums(facts: Facts, manifest: Manifest, faults: FaultList) -> None:
    """Verify the members' checksums: those of the manifest, and the lines of SHA256SUMS."""
    _check_manifest(facts, manifest, faults)
    _check_sums(facts, faults)


def _check_manifest(facts: Facts, manifest: Manifest, faults: FaultList) -> None:
    for name in VOUCHED:
        listed, actual = manifest.checksums.get(name), facts.sha256(name)
        if actual is None:
            faults.add(Fault("missing_member", f"it has to be there; {GET_AGAIN}", name))
        elif listed is None:
            faults.add(Fault("bad_manifest", "it is missing", MANIFEST, field=f"checksums.{name}"))
        elif listed != f"sha256:{actual}":
            faults.add(mismatch(name))


def _check_sums(facts: Facts, faults: FaultList) -> None:
    for name in facts.only_there():
        faults.add(Fault("bad_checksums", f"it does not name {shown(name)}", SUMS))
    for name in facts.only_in_sums():
        message = f"it names {shown(name)}, which is not there; {GET_AGAIN}"
        faults.add(Fault("bad_checksums", message, SUMS))
    for name in facts.damaged():
        faults.add(mismatch(name))


def read_sums(read: Callable[[int], bytes]) -> Iterator[tuple[str, str]]:
    """`(name, sha256)` for each line of SHA256SUMS, whose next bytes `read(n)` returns.

    Raises ArchiveError for a line that `sha256sum -c` would not read, or that escapes its name.
    """
    rest = b""
    while chunk := read(_MAX_LINE_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from map(_sum, lines)
        if len(rest) > _MAX_LINE_BYTES:
            _refuse_line()
    if rest:
        yield _sum(rest)


def sum_line(name: str, sha256: str) -> bytes:
    """A line of SHA256SUMS, as `read_sums` reads it."""
    return f"{sha256}  {name}\n".encode()


def digest_line(sha256: str, size: int, name: str) -> bytes:
    """What a member adds to the digest of an archive."""
    return f"{sha256} {size} {name}\n".encode()


def _sum(line: bytes) -> tuple[str, str]:
    match = _SUM.fullmatch(line)
    if match is None:
        _refuse_line()
    try:
        return match[2].decode(), match[1].decode()
    except UnicodeDecodeError:
        _refuse_line()


def _refuse_line() -> NoReturn:
    refuse("bad_checksums", "a line is not `SHA256  NAME` as sha256sum writes it", SUMS)
