"""`flask backups alerts …`: the commands about alerts."""

from __future__ import annotations

from typing import Any

import click
from flask.cli import AppGroup

from hexhub_backup.cli_base import command, the_app, the_backups
from hexhub_backup.history.store import utc_now
from hexhub_backup.terminal import Output

alerts = AppGroup("alerts", help="The alerts about what is wrong with the backups.")


@command("test", group=alerts)
def test(out: Output) -> dict[str, Any]:
    """Send a test alert to each channel. Exits with 1 where one failed."""
    channels = the_backups().alerts.channels.names
    failed = the_backups().alerts.test(the_app(), utc_now())
    if not channels:
        out.print("There is no channel: set HEXHUB_BACKUP_ALERTS, or give init_app on_alert=.")
    for name in channels:
        out.print(f"{name}: {'failed, see the log' if name in failed else 'a test was sent'}")
    document = {"channels": channels, "failed": failed}
    if failed:
        out.print_document(document)
        raise click.exceptions.Exit(1)
    return document
