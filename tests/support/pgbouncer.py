"""A pooler before the PostgreSQL server of the tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg

from tests.support.patience import PATIENCE
from tests.support.postgres import GUARD, Server, name_of
from tests.support.servers import unprivileged
from tests.support.serving import free_port

_MISSING = (
    "There is no PgBouncer to test with, and its tests are never skipped: install the Debian "
    "package pgbouncer."
)


@contextmanager
def pgbouncer(server: Server, uri: str, mode: str) -> Iterator[str]:
    """A pool of a database's connections; gives the URI that leads through it."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        raise RuntimeError(_MISSING)
    port, whom = free_port(), unprivileged("postgres", "nobody")
    with tempfile.TemporaryDirectory(prefix="hexhub-pool-", dir="/tmp") as path:
        folder = Path(path)
        (folder / "ini").write_text(
            f"[databases]\n{name_of(uri)} = host={server.folder} user=tests\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = any\npool_mode = {mode}\n"
            "ignore_startup_parameters = extra_float_digits\n"
        )
        if whom:
            os.chown(folder, whom["user"], whom["group"])
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                ["sh", "-c", GUARD, "sh", "KILL", program, str(folder / "ini")],
                stdin=subprocess.PIPE, stdout=log, stderr=log, **whom,
            )  # fmt: skip
        try:
            address = f"postgresql://tests@127.0.0.1:{port}/{name_of(uri)}"
            until = time.monotonic() + PATIENCE
            while True:
                with suppress(psycopg.OperationalError):
                    psycopg.connect(address).close()
                    break
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"No PgBouncer: {(folder / 'log').read_text()[-2000:]}")
                time.sleep(0.02)
            yield address.replace("postgresql:", "postgresql+psycopg:")
        finally:
            process.communicate()
