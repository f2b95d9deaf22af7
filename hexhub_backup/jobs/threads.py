"""Threads of the machine, for work that takes long: also where a server's own are greenlets."""

from __future__ import annotations

import atexit
import sys
import time
from collections.abc import Callable
from threading import Thread

from hexhub_backup.errors import BusyError

#: Seconds between two looks, at the end of a process, whether its work is done.
_LOOK_EVERY = 0.05


def start(work: Callable[[], None], name: str) -> None:
    """Run `work`, which raises nothing, in a thread of its own; the process ends after it.

    Under gevent that is one of its native threads: in a greenlet the work would stop the whole
    server, and gunicorn would kill its worker. Raises BusyError where there is no thread.
    """
    try:
        if _greenlets() == "gevent":
            _in_native_thread(work)
        elif _greenlets() == "eventlet":
            raise BusyError(
                f"The {name} was not begun: this server runs on eventlet, which has no threads for "
                "work that takes long. Use 'flask backups …' on the command line, or serve the "
                "app with threads or with gevent."
            )
        else:
            # A server's own threads may be daemons, and it would be one after them.
            Thread(target=work, name=f"hexhub_backup {name}", daemon=False).start()
    except RuntimeError as error:
        raise _no_thread(name, error) from error


def in_background(work: Callable[[], None], name: str) -> None:
    """Run `work`, which never ends, in a thread that the process does not wait for.

    Under gevent it is a thread of the machine too. Raises BusyError where there is no thread.
    """
    try:
        if _greenlets() == "gevent":
            sys.modules["gevent.monkey"].get_original("_thread", "start_new_thread")(work, ())
        elif _greenlets() == "eventlet":
            raise BusyError(
                f"The {name} was not begun: this server runs on eventlet, which has no threads "
                "that go on beside it. Run 'flask backups tick' every minute."
            )
        else:
            # Of a process that ends, it is in nobody's way.
            Thread(target=work, name=f"hexhub_backup_{name}", daemon=True).start()
    except RuntimeError as error:
        raise _no_thread(name, error) from error


def _no_thread(name: str, error: RuntimeError) -> BusyError:
    return BusyError(
        f"The {name} was not begun, because this process gets no further thread ({error}): "
        "try again later, or raise its limit (ulimit -u, or that of its container)."
    )


def _greenlets() -> str | None:
    """The library whose greenlets have taken the place of threads in this process."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("threading"):
        return "gevent"
    patcher = sys.modules.get("eventlet.patcher")
    if patcher is not None and patcher.is_monkey_patched("thread"):
        return "eventlet"
    return None


_running: set[object] = set()


def _in_native_thread(work: Callable[[], None]) -> None:
    me = object()

    def run() -> None:
        try:
            work()
        finally:
            _running.discard(me)

    if not _running:
        # Python waits for threads of its own before it ends, and not for these.
        atexit.unregister(_wait)
        atexit.register(_wait)
    _running.add(me)
    try:
        sys.modules["gevent"].get_hub().threadpool.spawn(run)
    except BaseException:
        _running.discard(me)
        raise


def _wait() -> None:
    while _running:
        time.sleep(_LOOK_EVERY)
