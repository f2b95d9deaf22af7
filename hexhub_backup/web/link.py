"""The host's link to the pages, with a badge while an operation runs."""

from __future__ import annotations

from flask import render_template, request
from markupsafe import Markup

from hexhub_backup.web import current
from hexhub_backup.web.texts import gettext


def backup_link(label: str | None = None, class_: str | None = None) -> Markup:
    """The link for the host's navigation: `{{ hexhub_backup_link() }}`, with words of the host in
    `label`, and CSS classes in `class_`. It does not use the database: the host's session may hold
    the only connection."""
    try:
        coordinator = current.backups().coordinator
        running, alarm = coordinator.is_running(), coordinator.alarm()
    except OSError:
        # The host's page must not fail because of it.
        running, alarm = False, "critical"
    return Markup(  # noqa: S704 (a template escapes)
        render_template(
            "hexhub_backup/_link.html",
            # On the host's pages no context processor of ours runs.
            _=gettext,
            label=label,
            class_=class_,
            running=running,
            alarm=alarm,
            current=request.blueprint == "hexhub_backup",
        )
    )
