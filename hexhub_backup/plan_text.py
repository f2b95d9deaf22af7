"""A plan for a terminal: as a JSON document, and as lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from itertools import islice
from typing import Any

from hexhub_backup import terminal
from hexhub_backup.archive.records import KINDS, Kind
from hexhub_backup.jobs.runner import Done
from hexhub_backup.jobs.verbs import Backups
from hexhub_backup.operations.plan import Plan, PlannedRecord

#: A plan lists so many records of each sort, and shows so many of them to people.
_LISTED = 100
_LINES = 20
_STATES = {"create": "to create", "conflict": "in conflict"}
_CONFLICTS = {
    "skip": "Conflicts, which stay as they are:",
    "overwrite": "Conflicts, which become the archive's:",
    "fail": "Conflicts, for which nothing will be restored:",
}
_TITLES = {
    "Rights that nobody would hold:": ("no_right_left",),
    "Accounts with protected rights whose log-in changes:": ("privileged_credentials_changed",),
    "Other accounts whose log-in changes:": ("credentials_changed",),
    "Accounts with protected rights that stay as they are, as they were not granted:": (
        "privileged_account",
    ),
    "Releases whose file is another one here:": ("package_file_differs", "docs_file_differs"),
    "Protected rights that come from the archive:": ("right_changed",),
    "Protected rights that are left out, as they were not granted:": ("right_not_granted",),
}


def plan_document(backups: Backups, inspected: Done) -> dict[str, Any]:
    """What a restore would do: `hash`, how many `records` of each kind are in each state and what
    the `effect` on them is, how many `files` are placed and replaced, and listings of what needs
    a look, each the `count` and the `first` of them: `conflicts` and `blocked` of each kind, and
    `notes` by code."""
    with closing(backups.plan(inspected.operation)) as plan:
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
        message = "it is there, but the host hides it"
    elif overwrite and record.action is None:
        message = "an account that holds a protected right, which stays as it is without a grant"
    return {
        "record": kind.label(compared.key),
        "fields": compared.differs,
        "changes": compared.changes,
        "message": message,
    }


def plan_lines(plan: Mapping[str, Any]) -> Iterator[str]:
    """What a restore would do, with the first of each sort that need a look."""
    for kind, states in plan["records"].items():
        counts = [
            f"{count:,} {_STATES.get(state, state)}" for state, count in states.items() if count
        ]
        if not_chosen := plan["effect"][kind]["not_chosen"]:
            counts.append(f"{not_chosen:,} not chosen")
        yield f"{kind + ':':<10}{', '.join(counts) or 'none'}"
    files = plan["files"]
    yield f"files:    {files['place']:,} to place, {files['replace']:,} to replace"
    yield from _listed(_CONFLICTS[plan["strategy"]], *plan["conflicts"].values())
    yield from _listed("Blocked records, which are left out:", *plan["blocked"].values())
    notes = dict(plan["notes"])
    # They have a list of their own.
    notes.pop("blocked", None)
    for title, codes in _TITLES.items():
        yield from _listed(title, *(notes.pop(code) for code in codes if code in notes))
    yield from _listed("To be known:", *notes.values())


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
    """Ask; where records are replaced, for their number. Raises CancelledError otherwise."""
    refusal = "Nothing was restored"
    if plan["replaces"]:
        number = terminal.counted(plan["replaces"], "record")
        terminal.confirm_number(f"{number} will be replaced.", plan["replaces"], refusal)
    else:
        terminal.confirm(f"Restore this with the strategy {plan['strategy']}?", refusal)
