"""What this process's server says of it: whether it is to end, and how many requests it serves."""

from __future__ import annotations

import signal
from contextlib import suppress
from threading import main_thread
from typing import Any, NoReturn


def is_ending() -> bool:
    """Whether this process has been told to end.

    The interpreter waits for our threads before it ends, and by then its main thread is over.
    gunicorn first waits for open connections, a websocket that watches an operation among them,
    and kills the process before they end: so its worker is asked too.
    """
    if not main_thread().is_alive():
        return True
    worker = _gunicorn_worker()
    return worker is not None and not worker.alive


def end_in_order() -> None:
    """Let SIGTERM end this process as the end of its program would, where nobody handles it, so
    that an operation ends as `interrupted`. Only for a process that is a server by then: the
    handlers of any other program are its own."""
    # Only the main thread may, and another has no need: its server has a main thread of its own.
    with suppress(ValueError):
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, _exit)


def _exit(number: int, _: object) -> NoReturn:
    raise SystemExit(128 + number)


def request_threads() -> int | None:
    """How many requests this process serves at a time, where the server can be asked."""
    worker = _gunicorn_worker()
    # Workers with greenlets say 1 as well as those that really serve one: WSGI tells them apart.
    return None if worker is None or worker.cfg.threads <= 1 else int(worker.cfg.threads)


def _gunicorn_worker() -> Any | None:
    """gunicorn's Worker handles SIGTERM by a method of its own: no other way leads to it."""
    worker = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return worker if hasattr(worker, "alive") and hasattr(worker, "cfg") else None
