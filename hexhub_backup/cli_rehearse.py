"""`flask backups rehearse`."""

from __future__ import annotations

from typing import Any

import click

from hexhub_backup import formatting, verbs
from hexhub_backup.cli_base import (
    acting,
    command,
    document,
    print_warnings,
    running,
    the_backups,
    who_is,
)
from hexhub_backup.cli_identity import identified, path_of
from hexhub_backup.terminal import Output
from hexhub_backup.verbs.base import Order


@command("rehearse")
@click.argument("archive", metavar="ID-or-FILE")
@acting
@identified
def rehearse(
    out: Output, archive: str, *, place: str | None, actor: str | None, key: Order | None
) -> dict[str, Any]:
    """Restore an archive beside the registry, look whether all of it comes back, and remove it
    again. Exits with 1 where it does not."""
    order = verbs.rehearse.order(the_backups().history, who_is(actor), archive, key, place=place)
    path = path_of(key or order)
    with running(out) as run:
        done = run(order)
    outcome = done.outcome
    print_warnings(out, done)
    out.print(*(f"Not tried: {each}." for each in outcome["not_copied"]))
    restorable, usable = not outcome["findings"], outcome["usable"]
    contents = formatting.contents(outcome["records"])
    if restorable:
        out.print(f"{path} can be restored: {contents} in {outcome['restore_seconds']} s.")
    else:
        out.print(f"{path} can’t be restored as it was: see the warnings. {contents} came back.")
    if usable is not None:
        of = formatting.plural(usable["of"], "{count} release", "{count} releases")
        out.print(f"{usable['good']:,} of {of} can be used.")
    kept = ("records", "files", "findings", "usable", "not_copied", "restore_seconds")
    shown = document(done, path, restorable=restorable, **{name: outcome[name] for name in kept})
    if not restorable:
        out.print_document(shown)
        raise click.exceptions.Exit(1)
    return shown
