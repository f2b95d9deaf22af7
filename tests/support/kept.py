"""All that an app keeps and tells, for tests that look for what must be nowhere."""

from __future__ import annotations

from pathlib import Path

from flask import Flask
from sqlalchemy import text

from examples.host_app.models import db
from hexhub_backup import signals
from hexhub_backup.history.tables import metadata


def told_by_signals() -> list[object]:
    """What the signals tell from now on."""
    told: list[object] = []
    for name in signals.SIGNALS:
        getattr(signals, name).connect(lambda sender, **extra: told.append(extra), weak=False)
    return told


def kept(app: Flask, *folders: Path) -> str:
    """The rows of our tables, and the files in these folders."""
    found = ""
    with app.app_context(), db.engine.connect() as connection:
        for table in metadata.sorted_tables:
            found += repr(connection.execute(text(f"SELECT * FROM {table.name}")).all())
    for folder in folders:
        for file in folder.rglob("*"):
            if file.is_file():
                found += file.read_bytes().decode(errors="replace")
    return found
