"""What the servers of the tests share: a folder of their own, and a user to run as."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar


class Started(Protocol):
    def start(self) -> None:
        """Start it, and wait until it answers."""
        ...

    def stop(self) -> None:
        """Stop it, in the middle of whatever is going on."""
        ...


class Server(Started, Protocol):
    def create(self) -> str:
        """The URI of a new, empty database."""
        ...


S = TypeVar("S", bound=Started)


@contextmanager
def running(make: Callable[[Path], S], name: str) -> Iterator[S]:
    """A server that runs, in a folder that goes with it."""
    # Not below TMPDIR: the path of a socket may have some hundred bytes only.
    folder = Path(tempfile.mkdtemp(prefix=f"hexhub-{name}-", dir="/tmp"))
    try:
        found = make(folder)
        try:
            found.start()
            yield found
        finally:
            found.stop()
    finally:
        # In the background: a hundred databases are many files.
        subprocess.run(["sh", "-c", 'rm -rf "$0" >/dev/null 2>&1 &', folder], check=True)


def unprivileged(*names: str) -> dict[str, Any]:
    """How root starts a program that refuses to run as root: as the first user there is of these.
    Nothing for anybody else. Raises RuntimeError."""
    if os.geteuid() != 0:
        return {}
    for name in names:
        with suppress(KeyError):
            found = pwd.getpwnam(name)
            return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}
    raise RuntimeError(
        f"The server does not run as root, and there is no user {' or '.join(names)}."
    )


def run_beside(server: AbstractContextManager[Server]) -> None:
    """Run the command of this program's arguments beside a server, and end as it does."""
    with server as found:
        environment = {**os.environ, "TEST_DATABASE_URI": found.create()}
        sys.exit(subprocess.run(sys.argv[1:], env=environment).returncode)
