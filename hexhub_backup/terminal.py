"""What a person at a terminal has of a running operation: a bar, and Ctrl-C."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from hexhub_backup import signals
from hexhub_backup.errors import BackupError, CancelledError, InterruptedOperationError
from hexhub_backup.jobs.runner import Runner


@contextmanager
def watched(app: Any, runner: Runner, *, show: bool) -> Iterator[None]:
    """Ctrl-C cancels what runs, SIGTERM interrupts it, and where `show` is set and standard
    error is a terminal, a bar tells how far it is."""

    def stop(error: BackupError) -> Callable[[int, Any], None]:
        def handler(number: int, frame: Any) -> None:
            runner.stopping = error

        return handler

    handlers = {
        signal.SIGINT: stop(CancelledError("It was cancelled with Ctrl-C.")),
        signal.SIGTERM: stop(InterruptedOperationError("server stopped")),
    }
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    bar = _Bar()
    if show and sys.stderr.isatty():
        signals.operation_progress.connect(bar.show, app)
    try:
        yield
    finally:
        bar.clear()
        for number, handler in before.items():
            signal.signal(number, handler)
        runner.stopping = None


class _Bar:
    """A line on standard error that is drawn over and over."""

    _WIDTH = 24
    _drawn = False

    def show(self, app: Any, event: dict[str, Any], **extra: Any) -> None:
        if event["type"] != "progress":
            return
        full = round(self._WIDTH * event["percent"] / 100)
        left = event["seconds_left"]
        line = (
            f"[{'#' * full}{'-' * (self._WIDTH - full)}] {event['percent']:5.1f} %  "
            f"{event['step']}  {size_text(event['bytes_per_second'])}/s"
            + ("" if left is None else f"  {left:.0f} s left")
        )
        click.echo(f"\r{line:<79.79}", err=True, nl=False)
        self._drawn = True

    def clear(self) -> None:
        if self._drawn:
            click.echo(f"\r{'':79}\r", err=True, nl=False)


def size_text(count: float) -> str:
    """A number of bytes for people: `104.9 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
