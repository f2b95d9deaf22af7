"""The example host, to be served: `tests.benchmarks.served:app()`.

Its operations wait before they begin, as long as there is a file `hold` in its folder: so that all
watchers are there by then. It writes to `served` which process does what: `PID runs OPERATION`, and
`PID watched PORT` with the port of the watcher.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from flask import Flask, request

from examples.host_app import create_app
from hexhub_backup.jobs.runner import ThreadRunner

WATCHERS_EACH = 50


def app() -> Flask:
    app = create_app(config={"HEXHUB_BACKUP_MAX_WATCHERS": WATCHERS_EACH})
    folder = Path(app.instance_path)
    run = ThreadRunner._run

    def note(what: str) -> None:
        with (folder / "served").open("a") as file:
            file.write(f"{os.getpid()} {what}\n")

    def wait_and_run(self: ThreadRunner, operation_id: str) -> None:
        note(f"runs {operation_id}")
        while (folder / "hold").exists():
            time.sleep(0.01)
        run(self, operation_id)

    ThreadRunner._run = wait_and_run  # type: ignore[method-assign]

    @app.before_request
    def note_watchers() -> None:
        if request.endpoint == "hexhub_backup.live":
            note(f"watched {request.environ['REMOTE_PORT']}")

    return app
