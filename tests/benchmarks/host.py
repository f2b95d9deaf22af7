"""The example host as it is timed: without a check of each package file, which few hosts have."""

from __future__ import annotations

from flask import Flask

from examples import host_app
from hexhub_backup.jobs.backups import backups_of


def create_app() -> Flask:
    app = host_app.create_app()
    backups_of(app).check_release = None
    return app
