"""`flask backups diff` and `acknowledge`: the commands about what is in a backup."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import click

from hexhub_backup import verbs
from hexhub_backup.cli_base import acting, command, running, the_app, the_backups, who_is
from hexhub_backup.history import remarks
from hexhub_backup.history.contents import listed_contents, open_listing
from hexhub_backup.operations.contents import Contents
from hexhub_backup.operations.differing import Difference, find_differences, since_text
from hexhub_backup.terminal import Output

#: So many differences are listed.
_LISTED = 1000
_SIGNS = {"added": "+", "removed": "-", "changed": "~"}


@command("diff")
@click.argument("backup", metavar="A")
@click.argument("other", metavar="[B]", required=False)
@acting
def diff(out: Output, backup: str, other: str | None, *, actor: str | None) -> dict[str, Any]:
    """Show what was added, removed and changed from backup A to backup B, or until now."""
    backups = the_backups()
    history, depot = backups.history, backups.depot
    if other is not None:
        with closing(listed_contents(depot, history.backup(other))) as later:
            return _document(out, backup, other, later)
    order = verbs.compare.order(history, who_is(actor), backup)
    try:
        with running(out) as run:
            run(order)
        with closing(open_listing(depot, order.id)) as later:
            return _document(out, backup, None, later)
    finally:
        # No other command would use it.
        depot.kept("contents", order.id).remove()


def _document(out: Output, backup: str, other: str | None, later: Contents) -> dict[str, Any]:
    backups = the_backups()
    with closing(listed_contents(backups.depot, backups.history.backup(backup))) as earlier:
        found = find_differences(earlier, later, limit=_LISTED)
        for each in found.shown:
            out.print(*_lines(each))
    left = found.wanted - len(found.shown)
    if left:
        out.print(f"… and {left:,} more.")
    out.print(f"{since_text(found.counts).capitalize()}.")
    return {
        "from": backup,
        "to": other,
        "counts": found.counts,
        "difference_count": found.wanted,
        "differences": [each.as_json() for each in found.shown],
    }


def _lines(difference: Difference) -> list[str]:
    lines = [f"{_SIGNS[difference.change]} {difference.label}"]
    for name, (before, now) in difference.short_fields().items():
        lines.append(f"    {name}: {before} -> {now}")
    for file_type, (had, has) in difference.files().items():
        lines.append(f"    {file_type} file: {had or 'none'} -> {has or 'none'}")
    return lines


@command("acknowledge")
@click.argument("backup", metavar="ID")
@click.option("--note", required=True, help="Why the package files have changed.")
@click.option("--as", "actor", metavar="USER", help="The actor in the audit log.")
def acknowledge(out: Output, backup: str, *, note: str, actor: str | None) -> dict[str, Any]:
    """Say that it is known why package files of a backup have changed."""
    found = remarks.acknowledge(the_backups().catalog, the_app(), who_is(actor), backup, note)
    out.print(f"The changed package files of backup {backup} are acknowledged.")
    return {
        "id": backup,
        "changed_files": found.changed_files,
        "acknowledged_at": found.acknowledged_at,
        "acknowledged_by": found.acknowledged_by,
        "acknowledged_note": found.acknowledged_note,
    }
