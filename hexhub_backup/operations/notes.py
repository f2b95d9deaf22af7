"""The notices of a plan: which there are, and how a page and a terminal list them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass

from hexhub_backup.archive.credentials import lets_in
from hexhub_backup.archive.records import USERS, Kind
from hexhub_backup.formatting import plural
from hexhub_backup.marking import marked
from hexhub_backup.notice_code import Severity
from hexhub_backup.notices import NOTICES, Notice, notice
from hexhub_backup.operations.choice import Choice
from hexhub_backup.operations.plan import Plan
from hexhub_backup.operations.planned import PlannedFile, PlannedRecord
from hexhub_backup.registry.base import Comparison

#: Fields as people call them.
_FIELDS = {
    "email": marked("e-mail"),
    "password_hash": marked("password (the archived one works again)"),
    "totp_enabled": marked("second factor"),
    "deactivated_at": marked("deactivation"),
}
_ACTIVATED = marked("deactivation (it is active again)")
_DEACTIVATED = marked("deactivation (it can't log in any more)")


def archive_notices(
    warnings: Iterable[Notice], unknown: Mapping[Kind, Set[str]]
) -> Iterator[Notice]:
    """The archive's own warnings, and its fields of each kind that have no column here."""
    yield from warnings
    for kind, fields in unknown.items():
        for field in sorted(fields):
            yield notice("field_without_column", None, "left_out", field=field, kind=kind.name)


def record_notices(kind: Kind, planned: PlannedRecord, choice: Choice) -> Iterator[Notice]:
    """The notices of one record, by what would become of it; none where its comparison is plain."""
    comparison = planned.comparison
    label = kind.label(comparison.key)
    if planned.state == "blocked":
        yield Notice("blocked", str(comparison.reason), label)
    if planned.state == "conflict" and comparison.own:
        yield notice("own_account", label, "restores")
    elif planned.state == "conflict" and choice.overwrite and planned.action is None:
        where = "holds" if comparison.holds else "would_hold"
        yield notice("privileged_account", label, where)
    if planned.action is None:
        return
    if comparison.totp_dropped:
        yield notice("totp_not_restored", label, "off")
    if comparison.unknown_password:
        yield notice("unknown_password_scheme", label, "restored")
    fields = [field for field in comparison.differs if lets_in(field)] if kind is USERS else []
    if planned.action == "overwrite" and fields:
        privileged = comparison.privileged
        code = "privileged_credentials_changed" if privileged else "credentials_changed"
        yield notice(code, label, "changed", fields=_credentials(comparison, fields))
    if comparison.protected:
        fields_text = ", ".join(comparison.protected)
        if choice.protected:
            yield notice("right_changed", label, "changed", fields=fields_text)
        else:
            yield notice("right_not_granted", label, "left_out", fields=fields_text)


def _credentials(comparison: Comparison, fields: Iterable[str]) -> str:
    """The names of fields by which one logs in; never a value."""
    names = dict(_FIELDS)
    was, becomes = comparison.changes.get("deactivated_at") or ("", "")
    if becomes is None:
        names["deactivated_at"] = _ACTIVATED
    elif was is None:
        names["deactivated_at"] = _DEACTIVATED
    return ", ".join(names.get(field, field) for field in fields)


def file_notice(planned: PlannedFile) -> Notice:
    """The notice of a file of a release whose content differs from the stored one."""
    code = "package_file_differs" if planned.file.type == "package" else "docs_file_differs"
    sentence = "replaced" if planned.action == "replace" else "kept"
    if planned.stored_size == planned.size:
        sentence += "_same_size"
    return notice(
        code,
        planned.file.label,
        sentence,
        stored_size=_bytes(planned.stored_size),
        size=_bytes(planned.size),
    )


def _bytes(count: int | None) -> str:
    """To the byte: two files may differ in one."""
    return plural(count, "{count} byte", "{count} bytes")


@dataclass(frozen=True)
class Block:
    """The notices of one code in a plan: how many there are, and the first of them."""

    code: str
    severity: Severity
    title: str
    advice: str
    count: int
    first: list[Notice]

    @property
    def more(self) -> int:
        """How many are not among the first."""
        return self.count - len(self.first)


def blocks(plan: Plan, limit: int) -> Iterator[Block]:
    """The notices of a plan by code, the most serious code first, `limit` notices of each."""
    counts = plan.note_counts()
    replaces_files = plan.file_counts()["replace"] > 0
    for code in NOTICES.values():
        if code.name in counts:
            harmless = code.advice_if_kept and not replaces_files
            yield Block(
                code=code.name,
                severity="info" if harmless else code.severity,
                title=code.title(counts[code.name]),
                advice=code.advice_if_kept if harmless else code.advice,
                count=counts[code.name],
                first=list(plan.notes(code.name, limit=limit)),
            )
