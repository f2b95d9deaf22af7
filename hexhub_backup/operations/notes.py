"""What an admin must not overlook in a plan, each in a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set

from hexhub_backup.archive.credentials import lets_in
from hexhub_backup.archive.records import RELEASES, USERS, Kind
from hexhub_backup.errors import Warning_
from hexhub_backup.operations.choice import Choice
from hexhub_backup.operations.plan import Note, PlannedFile, PlannedRecord
from hexhub_backup.registry.base import Comparison

#: Names for people.
_NAMES = {
    "email": "e-mail",
    "totp_enabled": "second factor",
    "deactivated_at": "deactivation",
}


def note_archive(warnings: Iterable[Warning_], unknown: Mapping[Kind, Set[str]]) -> Iterator[Note]:
    """Of the archive itself, and of the fields of a kind that have no column here."""
    for warning in warnings:
        yield Note(warning.code, warning.message, warning.record)
    for kind, fields in unknown.items():
        for field in sorted(fields):
            yield Note(
                "field_without_column",
                f"this host has no column for the field {field} of {kind.name}: it is left out",
            )


def note_record(kind: Kind, planned: PlannedRecord, choice: Choice) -> Iterator[Note]:
    """Of one record, by what would become of it."""
    found = planned.comparison
    label = kind.label(found.key)
    if planned.state == "blocked":
        yield Note("blocked", str(found.reason), label)
    if planned.state == "conflict" and found.own:
        yield Note("own_account", "it is the account that restores, and stays as it is", label)
    elif planned.state == "conflict" and choice.overwrite and planned.action is None:
        where = "here" if found.holds else "in the archive"
        yield Note(
            "privileged_account",
            f"it holds a protected right {where}, and stays as it is, as that was not granted",
            label,
        )
    if planned.action is None:
        return
    if found.totp_dropped:
        yield Note(
            "totp_not_restored",
            "no archive holds TOTP secrets: the account's second factor is off until its owner "
            "sets it up again",
            label,
        )
    if found.unknown_password:
        yield Note(
            "unknown_password_scheme",
            "the password hash is of an unknown scheme and is restored as it is: try whether "
            "this account can log in",
            label,
        )
    let_in = [field for field in found.differs if lets_in(field)] if kind is USERS else []
    if planned.action == "overwrite" and let_in:
        code = "privileged_credentials_changed" if found.privileged else "credentials_changed"
        yield Note(code, _let_in(found, let_in), label)
    if found.protected:
        fields = ", ".join(found.protected)
        if choice.protected:
            yield Note("right_changed", f"{fields} comes from the archive", label)
        else:
            yield Note("right_not_granted", f"{fields} of the archive is left out", label)


def _let_in(found: Comparison, fields: list[str]) -> str:
    """What changes of that by which one becomes an account; never a value of it."""
    names = {**_NAMES, "password_hash": "password (the archived one works again)"}
    was, becomes = found.changes.get("deactivated_at") or ("", "")
    if becomes is None:
        names["deactivated_at"] = "deactivation (it is active again)"
    elif was is None:
        names["deactivated_at"] = "deactivation (it can't log in any more)"
    return f"from the archive: {', '.join(names.get(field, field) for field in fields)}"


def note_file(planned: PlannedFile) -> Iterator[Note]:
    """Of one file of a release."""
    if not planned.differs:
        return
    what = "package" if planned.file.type == "package" else "docs"
    sizes = (
        f"{planned.stored_size:,} bytes here, {planned.size:,} in the archive"
        if planned.stored_size != planned.size
        else f"{planned.size:,} bytes, with another content"
    )
    becomes = "is replaced" if planned.action == "replace" else "stays as it is"
    code = "package_file_differs" if planned.file.type == "package" else "docs_file_differs"
    label = RELEASES.label((planned.file.package, planned.file.version))
    yield Note(code, f"its {what} file {becomes}: {sizes}", label)
