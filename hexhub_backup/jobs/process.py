"""This process and its server: whether it is ending, and how many requests it serves at a time."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from threading import current_thread, main_thread
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


def is_to_end(cause: BaseException) -> bool:
    """Whether what was raised is to end this process, as Ctrl-C is: only in its main thread. In
    another one a SystemExit comes from what a function of the host's has called."""
    return not isinstance(cause, Exception) and current_thread() is main_thread()


def is_worker() -> bool:
    """Whether this process is a worker of gunicorn. What a worker forks is none."""
    worker = _gunicorn_worker()
    return worker is not None and worker.pid == os.getpid()


def serves() -> bool:
    """Whether this process is a worker of gunicorn that has loaded its app."""
    worker = _gunicorn_worker()
    return worker is not None and worker.pid == os.getpid() and worker.booted


def is_forked_by_gunicorn(master: int) -> bool:
    """Whether this process was forked by that one, which has loaded gunicorn (`--preload`)."""
    return os.getppid() == master and "gunicorn.arbiter" in sys.modules


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


def hands_over_connections() -> bool:
    """Whether a connection may outlive its request: gunicorn's worker with threads has nothing to
    do with a connection after it has closed its own end, unless it encrypts it. A worker with
    greenlets needs no thread for a connection that stays open."""
    worker, with_threads = _gunicorn_worker(), sys.modules.get("gunicorn.workers.gthread")
    if worker is None or with_threads is None:
        return False
    return isinstance(worker, with_threads.ThreadWorker) and not worker.cfg.is_ssl


def _gunicorn_worker() -> Any | None:
    """gunicorn's worker of this process, or None under another server.

    gunicorn hands its worker to server hooks only (`post_worker_init`, `worker_int`), which belong
    to the host's configuration. Neither the WSGI environment nor a module leads to the worker. Its
    handler of SIGTERM is the bound method `Worker.handle_exit` (`Worker.init_signals`), so the
    worker is read from there, in this function only.
    """
    worker = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return worker if hasattr(worker, "alive") and hasattr(worker, "cfg") else None
