"""`flask backups …` in this process."""

from __future__ import annotations

import json
from typing import Any

from click.testing import Result
from flask import Flask

from hexhub_backup import verbs
from hexhub_backup.jobs.backups import backups_of
from tests.support.hosts import ADA


def cli(app: Flask, *arguments: str, typed: str = "") -> Result:
    """Run `flask backups …` in this process, without a terminal."""
    return app.test_cli_runner().invoke(args=["backups", *arguments], input=typed)


def refused(app: Flask, *arguments: str) -> dict[str, Any]:
    done = cli(app, *arguments, "--json")
    assert (done.exit_code, done.stderr) == (1, "")
    error: dict[str, Any] = json.loads(done.stdout)["error"]
    return error


def created(app: Flask) -> str:
    return backups_of(app).orders.run(app, verbs.create.order(ADA)).operation
