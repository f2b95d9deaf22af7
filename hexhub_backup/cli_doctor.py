"""`flask backups doctor`: what is wrong with the files of the registry, and what puts it right."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from hexhub_backup import formatting, verbs
from hexhub_backup.cli_base import acting, command, document, running, the_backups, who_is
from hexhub_backup.cli_choice import restoring
from hexhub_backup.history.findings import findings_of
from hexhub_backup.operations.findings import Finding
from hexhub_backup.terminal import Output


@command("doctor")
@acting
def doctor(out: Output, actor: str | None) -> dict[str, Any]:
    """Look whether the files of the registry are what its rows and its backups say. Exits with 1
    where one is not."""
    with running(out) as run:
        done = run(verbs.doctor.order(who_is(actor)))
    for finding in findings_of(the_backups().depot, done.operation):
        out.print(*_lines(finding))
    outcome = done.outcome
    wrong = sum(outcome["found"].values())
    looked_at = formatting.plural(
        outcome["files"], "{count} file looked at", "{count} files looked at"
    )
    out.print(f"{looked_at}, {formatting.number(wrong)} wrong.")
    names = ("releases", "files", "found")
    shown = document(done, None, **{name: outcome[name] for name in names})
    shown["findings"] = [_json(Finding(**each)) for each in outcome["findings"]]
    if wrong:
        out.print_document(shown)
        raise click.exceptions.Exit(1)
    return shown


def _lines(finding: Finding) -> Iterator[str]:
    yield f"{finding.label}: {finding.notice().message}"
    how = _command(finding)
    yield f"    {how}" if how else "    No good backup has the right file."


def _command(finding: Finding) -> str | None:
    choice = finding.choice
    return None if choice is None else restoring(str(finding.backup), choice)


def _json(finding: Finding) -> dict[str, Any]:
    return {**finding.as_json(), "command": _command(finding)}
