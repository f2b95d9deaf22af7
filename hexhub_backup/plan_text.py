"""A plan for a terminal: as a JSON document, and as lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from itertools import islice
from typing import Any

from hexhub_backup import formatting, terminal
from hexhub_backup.archive.records import KINDS, Kind
from hexhub_backup.jobs.backups import Backups
from hexhub_backup.jobs.running import Done
from hexhub_backup.notices import NOTICES
from hexhub_backup.operations.plan import Plan
from hexhub_backup.operations.planned import PlannedRecord

#: A document lists so many records of each sort, and people are shown so many.
_LISTED = 100
_LINES = 20
_STATES = {"create": "to create", "conflict": "in conflict"}
_CONFLICTS = {
    "skip": "Conflicts that stay as they are:",
    "overwrite": "Conflicts that are replaced:",
    "fail": "Conflicts, because of which nothing will be restored:",
}


def plan_document(backups: Backups, inspected: Done) -> dict[str, Any]:
    """The plan of a restore: its `hash`, how many `records` of each kind are in each state, the
    `effect` on them, and how many `files` are placed and replaced. `conflicts` and `blocked` by
    kind, and `notes` by code, are listings: a `count`, and the `first` of them."""
    with closing(backups.plans.open(inspected.operation)) as plan:
        return {
            "id": inspected.operation,
            "hash": plan.about["hash"],
            **plan.choice.as_json(),
            "records": inspected.outcome["plan"],
            "effect": inspected.outcome["effect"],
            "replaces": plan.replaces(),
            "files": plan.file_counts(),
            "conflicts": {
                kind.name: _listing(
                    _conflict(kind, record, overwrite=plan.choice.overwrite)
                    for record in plan.conflicts(kind)
                )
                for kind in KINDS
            },
            "blocked": {
                kind.name: _listing(
                    {
                        "record": kind.label(record.comparison.key),
                        "message": record.comparison.reason,
                    }
                    for record in plan.blocked(kind)
                )
                for kind in KINDS
            },
            "notes": _notes(plan),
        }


def _notes(plan: Plan) -> dict[str, Any]:
    return {
        code: {
            "count": count,
            "first": [
                {"record": note.record, "message": note.message}
                for note in plan.notes(code, limit=_LISTED)
            ],
        }
        for code, count in plan.note_counts().items()
    }


def _listing(entries: Iterator[dict[str, Any]]) -> dict[str, Any]:
    first = list(islice(entries, _LISTED))
    return {"count": len(first) + sum(1 for _ in entries), "first": first}


def _conflict(kind: Kind, record: PlannedRecord, *, overwrite: bool) -> dict[str, Any]:
    compared = record.comparison
    message = f"differs in {', '.join(compared.differs) or 'its files'}"
    if compared.own:
        message = "your own account, which stays as it is"
    elif compared.hidden:
        message = "it exists, but the host hides it"
    elif overwrite and record.action is None:
        message = "an account that holds a protected right, which stays as it is without a grant"
    return {
        "record": kind.label(compared.key),
        "fields": compared.differs,
        "changes": compared.changes,
        "message": message,
    }


def plan_lines(plan: Mapping[str, Any]) -> Iterator[str]:
    """The plan of a restore, with the first conflicts, blocked records and notices."""
    for kind, states in plan["records"].items():
        counts = [
            f"{count:,} {_STATES.get(state, state)}" for state, count in states.items() if count
        ]
        if not_chosen := plan["effect"][kind]["not_chosen"]:
            counts.append(f"{not_chosen:,} not chosen")
        yield f"{kind + ':':<10}{', '.join(counts) or 'none'}"
    files = plan["files"]
    yield f"files:    {files['place']:,} to add, {files['replace']:,} to replace"
    yield from _listed(_CONFLICTS[plan["strategy"]], *plan["conflicts"].values())
    yield from _listed("Blocked records, which are left out:", *plan["blocked"].values())
    for code in NOTICES.values():
        # Blocked records have a list of their own.
        if code.name in plan["notes"] and code.name != "blocked":
            notes = plan["notes"][code.name]
            yield from _listed(f"{code.title(notes['count'])}:", notes)


def _listed(title: str, *listings: Mapping[str, Any]) -> Iterator[str]:
    if any(listing["count"] for listing in listings):
        yield title
    for listing in listings:
        for entry in listing["first"][:_LINES]:
            yield f"  {entry['record'] or 'the archive'}: {entry['message']}"
            for field, change in entry.get("changes", {}).items():
                yield f"    {field}: {_change_text(change)}"
        if (more := listing["count"] - _LINES) > 0:
            yield f"  and {more:,} more"


def _change_text(change: Any) -> str:
    if change is None:
        return "differs (a secret)"
    old, new = ("null" if value is None else value for value in change)
    return f"{old} → {new}"


def confirm_restore(plan: Mapping[str, Any]) -> None:
    """Ask for a yes, or where records are replaced for their number. Raises CancelledError where
    the answer is another."""
    refusal = "Nothing was restored"
    if plan["replaces"]:
        statement = formatting.plural(
            plan["replaces"],
            "{count} record will be replaced.",
            "{count} records will be replaced.",
        )
        terminal.confirm_number(statement, plan["replaces"], refusal)
    else:
        terminal.confirm(f"Restore this with the strategy {plan['strategy']}?", refusal)
