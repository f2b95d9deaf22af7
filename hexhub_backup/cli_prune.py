"""`flask backups prune`: what has expired in each place, deleted or only told of."""

from __future__ import annotations

from typing import Any

import click

from hexhub_backup import formatting, terminal, verbs
from hexhub_backup.cli_base import acting, command, running, the_backups, who_is
from hexhub_backup.destinations.base import HERE
from hexhub_backup.errors import PruneRefusedError
from hexhub_backup.history.holding import Holds
from hexhub_backup.terminal import Output


@command("prune")
@click.option("--dry-run", is_flag=True, help="Only list what would be deleted.")
@click.option(
    "--anyway",
    is_flag=True,
    help="Also where most backups would go at once, or files seem to be gone.",
)
@acting
def prune(out: Output, *, dry_run: bool, anyway: bool, actor: str | None) -> dict[str, Any]:
    """Delete the backups that have expired, and leftovers of old operations."""
    if dry_run:
        return _preview(out, anyway=anyway)
    with running(out) as run:
        done = run(verbs.prune.order(who_is(actor), anyway=anyway))
    deleted = len(done.outcome["backups"])
    copies = sum(map(len, done.outcome["copies"].values()))
    if deleted:
        out.print(formatting.plural(deleted, "{count} backup deleted.", "{count} backups deleted."))
    if copies:
        out.print(
            formatting.plural(
                copies, "{count} copy elsewhere deleted.", "{count} copies elsewhere deleted."
            )
        )
    if not (deleted or copies):
        out.print("No backup has expired.")
    return {"id": done.operation, "state": "completed", **done.outcome}


def _preview(out: Output, *, anyway: bool) -> dict[str, Any]:
    """Print what a prune would delete in each place, and what holds the rest. Raises
    PruneRefusedError where it would delete nothing at all."""
    history = the_backups().history
    held, expired = history.held(history.all_rules), history.expired(anyway=anyway)
    out.print(
        formatting.plural(
            len(expired), "{count} backup would be deleted.", "{count} backups would be deleted."
        ),
        *(terminal.held_line(each, names) for each, names in held[HERE]),
    )
    places = {}
    for place in history.places:
        refused, copies = None, list[str]()
        try:
            copies = history.expired(place, anyway=anyway)
        except PruneRefusedError as error:
            refused = str(error)
        counted = formatting.plural(
            len(copies), "{count} copy would be deleted.", "{count} copies would be deleted."
        )
        out.print(
            f"{place}: {refused or counted}",
            *(terminal.held_line(each, names) for each, names in held[place]),
        )
        places[place] = {"backups": copies, "held": _by_id(held[place]), "refused": refused}
    return {"backups": expired, "dry_run": True, "held": _by_id(held[HERE]), "places": places}


def _by_id(held: Holds) -> dict[str, tuple[str, ...]]:
    return {each.id: names for each, names in held}
