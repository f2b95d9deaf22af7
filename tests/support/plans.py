"""Plans larger than any registry of the tests."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

from hexhub_backup.archive.records import KINDS
from hexhub_backup.notices import notice
from hexhub_backup.operations.choice import Choice
from hexhub_backup.operations.plan import STATES, Plan, PlanWriter
from hexhub_backup.operations.planned import PlannedRecord
from hexhub_backup.registry.base import Action, Comparison


def fill(folder: Path, count: int, *, notes: int = 0) -> None:
    """Put a plan of so many records, a quarter in each state, in the place of the one in a
    folder."""
    path = folder / "plan.sqlite"
    with closing(Plan(path)) as found:
        about = dict(found.about)
    path.unlink()
    each = count // len(KINDS)
    changes: dict[str, Any] = {"email": ("here@example.org", "archive@example.org"), "hash": None}
    with closing(PlanWriter(path)) as writer:
        for kind in KINDS:
            for n in range(each):
                state = STATES[n % len(STATES)]
                key = (f"name{n}",) * len(kind.key)
                comparison = Comparison(
                    n=n,
                    key=key,
                    state=state,
                    differs=tuple(changes) if state == "conflict" else (),
                    reason="its package is nowhere" if state == "blocked" else None,
                    changes=changes if state == "conflict" else {},
                )
                action: Action | None = "create" if state == "create" else None
                writer.add(kind, PlannedRecord(state, comparison, action))
        for n in range(notes):
            sizes = {"stored_size": "1 byte", "size": "2 bytes"}
            writer.note(notice("package_file_differs", f"release p {n}", "kept", **sizes))
        writer.complete(
            digest=about["digest"],
            choice=Choice(),
            archive=about["archive"],
            actor=about["actor"],
            totals={kind.name: each for kind in KINDS},
        )
