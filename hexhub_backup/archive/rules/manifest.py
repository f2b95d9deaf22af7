"""manifest.json: what an archive says of itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from hexhub_backup.archive.faults import FaultList, shown
from hexhub_backup.archive.records import KINDS
from hexhub_backup.archive.rules import json_rows, strict_json
from hexhub_backup.archive.times import is_time
from hexhub_backup.errors import Fault

MANIFEST = "manifest.json"
SUMS = "SHA256SUMS"
VERSION = "1.0"
#: What the manifest vouches for; SHA256SUMS vouches for the rest.
VOUCHED = (*(kind.member for kind in KINDS), SUMS)
#: How many characters a text of the manifest may have: they are shown in the history.
MAX_TEXT = 1000
COUNTS = (*(kind.name for kind in KINDS), "package_files", "doc_files", "total_size_bytes")
_CHECKSUM = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Manifest:
    """The manifest. `created_at` is ISO 8601 in UTC, checksums are `sha256:` and lower-case hex,
    `missing_files` are member names. HexHub's own has no `generator` and no checksums."""

    version: str
    hex_hub_version: str
    generator: str | None
    created_at: str
    created_by: str
    contents: dict[str, int]
    checksums: dict[str, str]
    missing_files: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The document. HexHub's own manifests have no `generator`, so that none is none."""
        document = {**vars(self), "missing_files": list(self.missing_files)}
        if self.generator is None:
            del document["generator"]
        return document

    def as_bytes(self) -> bytes:
        """The member. Raises StrictJSONError where it has no form in JSON, or is too large."""
        return strict_json.dumps(self.as_json(), end=b"\n")

    @classmethod
    def parse(cls, data: bytes) -> Manifest:
        """Read the member. Raises ArchiveError with all its faults.

        A manifest without a `generator` may be HexHub's: it needs as little as `version` and
        `created_at`, like HexHub's importer.
        """
        faults = FaultList()
        manifest = _read(data, faults)
        faults.raise_if_any()
        return manifest


def _read(data: bytes, faults: FaultList) -> Manifest:
    def fault(message: str, field: str | None = None) -> None:
        faults.add(Fault("bad_manifest", message, member=MANIFEST, field=field))

    document: Any = None
    try:
        document = json_rows.loads(data)
    except strict_json.StrictJSONError as error:
        fault(f"{error}")
    else:
        if type(document) is not dict:
            fault("it must be an object")
    if type(document) is not dict:
        return Manifest("", "", None, "", "", {}, {})
    version = document.get("version")
    if type(version) is str and version != VERSION:
        message = f"its version is {shown(version)}, and only {VERSION} can be read; update this"
        faults.add(Fault("unsupported_version", message, member=MANIFEST, field="version"))
        return Manifest(version, "", None, "", "", {}, {})

    lenient = document.get("generator") is None

    def text(field: str, *, needed: bool) -> str:
        value = document.get(field)
        if value is None and not needed:
            return ""
        if type(value) is not str:
            fault("it must be a text" if field in document else "it is missing", field)
            return ""
        if len(value) > MAX_TEXT:
            fault(f"it is longer than {MAX_TEXT:,} characters", field)
        return value

    def mapping(field: str, needed: tuple[str, ...]) -> dict[str, Any]:
        value = document.get(field)
        if value is None and lenient:
            return {}
        if type(value) is not dict:
            fault("it must be an object" if field in document else "it is missing", field)
            return {}
        for key in () if lenient else needed:
            if key not in value:
                fault("it is missing", f"{field}.{key}")
        return value

    created_at = text("created_at", needed=True)
    if type(document.get("created_at")) is str and not is_time(created_at):
        fault("it must be a time in ISO 8601", "created_at")
    contents = mapping("contents", COUNTS)
    for key, value in contents.items():
        if key in COUNTS and (type(value) is not int or value < 0):
            fault("it must be a count", f"contents.{key}")
    checksums = mapping("checksums", VOUCHED)
    for key, value in checksums.items():
        if key not in VOUCHED:
            fault("it is no member that the manifest vouches for", f"checksums.{shown(key)}")
        elif type(value) is not str or not _CHECKSUM.fullmatch(value):
            fault("it must be sha256: and 64 lower-case hexadecimal digits", f"checksums.{key}")
    missing = document.get("missing_files", [] if lenient else None)
    if type(missing) is not list or not all(type(name) is str for name in missing):
        fault("it must be an array of member names", "missing_files")
        missing = []
    return Manifest(
        version=text("version", needed=True),
        hex_hub_version=text("hex_hub_version", needed=not lenient),
        generator=None if lenient else text("generator", needed=True),
        created_at=created_at,
        created_by=text("created_by", needed=not lenient),
        contents={key: value for key, value in contents.items() if key in COUNTS},
        checksums=checksums,
        missing_files=tuple(missing),
    )
