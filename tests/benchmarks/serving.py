"""An instance in gunicorn with two workers, as its admin meets it over HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from examples.host_app import create_app
from examples.host_app.seed import ADMIN
from tests.support.patience import wait_for
from tests.support.serving import PREFIX, Address, Visitor, process, visitor

WORKERS = 2
_FORM = "application/x-www-form-urlencoded"


class Served:
    """An instance in a server, and its admin."""

    def __init__(self, folder: Path, address: Address, admin: Visitor) -> None:
        self.folder, self.address, self._admin = folder, address, admin
        self.cookie = admin.headers["Cookie"]

    def post(self, path: str, body: bytes, kind: str = _FORM, *, to: str = "operations") -> str:
        """Start something, when nothing else goes on any more. Gives the operation's id, whose page
        below `to` is what the answer leads to."""
        headers = {
            "X_CSRFToken": self._admin.token,
            "Origin": self.address.origin,
            "Content_Type": kind,
        }

        def taken() -> str | None:
            status, answer, page = self.address.request(
                "POST", f"{PREFIX}{path}", self._admin, body, **headers
            )
            assert status in (303, 409), page.decode()
            place, _, operation = answer.get("Location", "").rpartition("/")
            # A plan leads to itself as long as its inspection is not recorded as completed, which
            # comes a moment after the event that tells so.
            return operation if place.endswith(f"/{to}") else None

        started: str = wait_for(taken)
        return started

    def create(self) -> str:
        return self.post("/", b"")

    def inspect(self, backup: str) -> str:
        fields = {"conflict_strategy": "skip", "backup": backup}
        parts = (
            f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in fields.items()
        )
        body = "".join((*parts, "--x--\r\n")).encode()
        return self.post("/restore", body, "multipart/form-data; boundary=x", to="plans")

    def rehearse(self, backup: str) -> str:
        return self.post(f"/{backup}/rehearse", b"")

    def restore(self, plan: str) -> str:
        return self.post(f"/plans/{plan}", b"do=restore")

    def get(self, path: str) -> float:
        """The seconds that a page takes, for its admin."""
        started = time.perf_counter()
        status, _, _ = self.address.request("GET", path, self._admin)
        assert status == 200, path
        return time.perf_counter() - started

    def result(self, operation: str) -> dict[str, Any] | None:
        """How an operation ended, read without the server's help; None until then."""
        log = self.folder / "backups" / "operations" / f"{operation}.jsonl"
        *_, text = ("{}", *log.read_text().splitlines(keepends=True))
        # What is half written is no JSON yet.
        last: dict[str, Any] = json.loads(text) if text.endswith("}\n") else {}
        if last.get("type") != "result":
            return None
        assert last["state"] == "completed", last
        return last

    @contextmanager
    def held(self) -> Iterator[Path]:
        """Nothing begins meanwhile; it does when the file is gone."""
        hold = self.folder / "hold"
        hold.touch()
        try:
            yield hold
        finally:
            hold.unlink(missing_ok=True)

    def processes(self, operation: str) -> tuple[str, dict[int, str]]:
        """Which process runs an operation, and which serves the watcher with which port."""
        runs, watched = "", {}
        for line in (self.folder / "served").read_text().splitlines():
            number, what, whom = line.split()
            if what == "watched":
                watched[int(whom)] = number
            elif whom == operation:
                runs = number
        return runs, watched


@contextmanager
def serving(folder: Path) -> Iterator[Served]:
    admin = visitor(create_app(folder), ADMIN)
    options = (f"--workers={WORKERS}", "--threads=128", "--bind=127.0.0.1:{port}")
    with process(folder, "gunicorn", *options, "tests.benchmarks.served:app()") as server:
        try:
            yield Served(folder, server.address, admin)
        finally:
            server.end()
