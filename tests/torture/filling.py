"""Runs one operation of the example host on a disk that becomes full meanwhile, as
`python -m tests.torture.filling VERB [NAME]`, and prints what came of it as JSON.

`--fill DIRECTORY` fills the file system of a directory to its last byte when `--step` begins;
`--limit BYTES` lets no file of the process become longer from then on, which is what can be had
without a file system of one's own.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Flask

from examples.host_app import create_app
from examples.host_app.seed import ADMIN
from hexhub_backup import signals, verbs
from hexhub_backup.errors import BackupError
from hexhub_backup.history.models import Who
from hexhub_backup.jobs.backups import Backups
from hexhub_backup.operations import decisions
from hexhub_backup.operations.choice import Choice
from tests.support.people import sign_in, token

FILLER = "filler"
PREFIX = "/admin/backups"
WHO = Who(actor="cli:tests")


def fill(directory: Path) -> None:
    """Leave no byte of a file system."""
    block = b"\0" * 65536
    with (directory / FILLER).open("ab", buffering=0) as filler:
        while len(block) > 1:
            try:
                filler.write(block)
            except OSError:
                block = block[: len(block) // 2]


class Body(io.BytesIO):
    """What a browser sends; `meanwhile` happens half way."""

    def __init__(self, content: bytes, meanwhile: Callable[[], None]) -> None:
        super().__init__(content)
        self._half: int | None = len(content) // 2
        self._meanwhile = meanwhile

    def _pass(self) -> None:
        if self._half is not None and self.tell() > self._half:
            self._half = None
            self._meanwhile()

    def read(self, size: int | None = -1, /) -> bytes:
        self._pass()
        return super().read(size)

    def readinto(self, buffer: Any, /) -> int:
        self._pass()
        return super().readinto(buffer)


def upload(app: Flask, archive: Path, meanwhile: Callable[[], None]) -> dict[str, Any]:
    """Send an archive to the page, as a browser does without JavaScript."""
    client = app.test_client()
    assert sign_in(client, ADMIN).status_code == 303
    boundary = "a-boundary"
    fields = {"csrf_token": token(client, f"{PREFIX}/new"), "conflict_strategy": "skip"}
    head = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    head += f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a.tar"\r\n\r\n'
    content = head.encode() + archive.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
    answer = client.post(
        f"{PREFIX}/restore",
        input_stream=Body(content, meanwhile),
        content_length=len(content),
        content_type=f"multipart/form-data; boundary={boundary}",
        headers={"Accept": "application/json"},
    )
    return {"status": answer.status_code, "error": (answer.json or {}).get("error")}


def run(app: Flask, backups: Backups, verb: str, name: str) -> None:
    """Run an operation; `name` is an archive's, or the id of the operation that is undone."""
    if verb == "create":
        backups.orders.run(app, verbs.create.order(WHO))
    elif verb == "undo":
        backups.orders.run(app, verbs.undo.order(backups.history, WHO, name))
    else:
        choice = Choice(strategy="overwrite")
        plan = backups.orders.run(
            app, verbs.inspect.order(backups.history, WHO, name, choice)
        ).operation
        if verb == "restore":
            backups.orders.run(app, verbs.restore.order(backups.plans, WHO, plan))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb")
    parser.add_argument("name", nargs="?", default="")
    parser.add_argument("--step")
    parser.add_argument("--fill", type=Path)
    parser.add_argument("--limit", type=int)
    arguments = parser.parse_args()
    # The disk is as full after ten seconds of trying again.
    decisions.PAUSES = (0.01, 0.01, 0.01, 0.01, 0.01, 0.01)
    app = create_app()
    backups: Backups = app.extensions["hexhub_backup"]

    def meanwhile() -> None:
        if arguments.fill is not None:
            fill(arguments.fill)
        if arguments.limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (arguments.limit, resource.RLIM_INFINITY))

    def on_step(_: Flask, *, event: dict[str, Any], **_extra: Any) -> None:
        if event["step"] == arguments.step and event["state"] == "running":
            meanwhile()

    signals.operation_step.connect(on_step, app)
    if arguments.verb == "upload":
        print(json.dumps(upload(app, Path(arguments.name), meanwhile)))
        return
    with app.app_context():
        backups.prepare(app)
        try:
            run(app, backups, arguments.verb, arguments.name)
            error = None
        except BackupError as raised:
            error = raised.as_json()
    print(json.dumps({"error": error}), flush=True)
    # What a full disk keeps from being closed must not change how it ended.
    os._exit(0)


if __name__ == "__main__":
    main()
