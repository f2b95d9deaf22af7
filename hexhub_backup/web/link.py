"""The host's link to the pages, with a badge while an operation runs."""

from __future__ import annotations

from flask import render_template, request
from markupsafe import Markup

from hexhub_backup.web import here


def backup_link(label: str = "Backups", class_: str | None = None) -> Markup:
    """The link for the host's navigation: `{{ hexhub_backup_link() }}`. `class_` are classes of
    the host's. Asks no database: the session of the host's page may hold the only connection."""
    try:
        running = here.backups().directory.is_running()
    except OSError:
        # No reason for the host's page to fail.
        running = False
    return Markup(  # noqa: S704 (a template escapes)
        render_template(
            "hexhub_backup/_link.html",
            label=label,
            class_=class_,
            running=running,
            current=request.blueprint == "hexhub_backup",
        )
    )
