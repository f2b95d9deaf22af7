"""The example as a cluster: `make cluster`.

PostgreSQL, a broker of Redis and a server of S3 for all; two web processes and two Celery workers,
each with a directory of its own, which no other one sees.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from examples.host_app.seed import ADMIN, PASSWORD, TOTP_SECRET
from tests.support import s3
from tests.support.broker import QUEUE, Broker, broker
from tests.support.instance import ROOT
from tests.support.patience import wait_for
from tests.support.postgres import GUARD, Server, server
from tests.support.s3 import S3Server
from tests.support.serving import Address, answers, free_port

WEB, WORKERS = ("web-a", "web-b"), ("worker-1", "worker-2")
#: Runs a command in a mount namespace of its own, in which the directory of the cluster holds
#: nothing but its own: whoever is no root is one in a namespace of users.
_ALONE = """
mount --bind "$1/$2" /mnt && mount -t tmpfs tmpfs "$1" && mkdir "$1/$2" &&
mount --bind /mnt "$1/$2" && umount /mnt && shift 2 && exec "$@"
"""


@dataclass
class Cluster:
    """One that runs: its servers, and its processes by their names."""

    folder: Path
    uri: str
    postgresql: Server
    broker: Broker
    s3: S3Server
    environment: dict[str, str]
    #: Whether each process has a mount namespace of its own.
    apart: bool
    #: Of a web process.
    threads: int = 16
    #: By how many seconds the clock of a machine is wrong.
    clocks: Mapping[str, int] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    addresses: dict[str, Address] = field(default_factory=dict)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def environment_of(self, name: str) -> dict[str, str]:
        return {**os.environ, **self.environment, "HOST_APP_DATA": str(self.folder / name)}

    def flask(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command on the machine of this name."""
        process = self.begin(name, *arguments)
        output, errors = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    def begin(self, name: str, *arguments: str) -> subprocess.Popen[str]:
        """A command on the machine of this name that has just begun, in a group of its own."""
        return subprocess.Popen(
            self._on(name, "-m", "flask", "--app", "examples.host_app", *arguments),
            cwd=ROOT,
            env=self.environment_of(name),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def start(self, name: str) -> None:
        """Start a process, and wait until it serves or takes orders."""
        if name in WEB:
            address = self.addresses.setdefault(name, Address(free_port()))
            command = ["-m", "gunicorn", f"--threads={self.threads}"]
            command += [f"--bind=127.0.0.1:{address.port}", "examples.host_app:create_app()"]
        else:
            command = ["-m", "celery", "-A", "examples.host_app.worker", "worker"]
            command += ["--queues", QUEUE, "--concurrency", "2", "--loglevel", "INFO"]
            command += ["--hostname", f"{name}@%h"]
        with (self.folder / f"{name}.log").open("ab") as log:
            log.write(b"\n--- begins\n")
            process = subprocess.Popen(
                ["sh", "-c", GUARD, "sh", "TERM", *self._on(name, *command)],
                cwd=ROOT,
                env=self.environment_of(name),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes[name] = process

        def is_there() -> bool:
            if process.poll() is not None:
                raise RuntimeError(f"{name} has ended: {self.log(name)[-2000:]}")
            if name in WEB:
                return answers(self.addresses[name].port)
            return " ready." in self.log(name).rpartition("--- begins")[2]

        wait_for(is_there)

    def kill(self, name: str) -> None:
        """Kill a process, and what it has forked."""
        process = self.processes.pop(name)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()

    def kill_all(self) -> None:
        for name in [*self.processes]:
            self.kill(name)

    def _on(self, name: str, *command: str) -> list[str]:
        (self.folder / name).mkdir(mode=0o700, exist_ok=True)
        if (wrong := self.clocks.get(name)) is not None:
            command = ("-m", "tests.support.ahead", str(wrong), *command[1:])
        command = (sys.executable, *command)
        if not self.apart:
            return [*command]
        return [*_unshare(), "sh", "-c", _ALONE, "sh", str(self.folder), name, *command]


@contextmanager
def cluster(
    at: S3Server | None = None,
    *,
    threads: int = 16,
    clocks: Mapping[str, int] | None = None,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Cluster]:
    """One that runs, in a folder that goes with it; its bucket is `at` a server that is there, or
    at one of its own. Raises RuntimeError, which names the fix."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cluster-")))
        postgresql = stack.enter_context(server())
        queue = stack.enter_context(broker())
        bucket_server = at or stack.enter_context(s3.moto())
        bucket = bucket_server.bucket()
        uri = postgresql.create()
        environment = {
            "HOST_APP_DATABASE_URI": uri,
            "HOST_APP_HTTPS": "0",
            "HOST_APP_BROKER": queue.url,
            "HOST_APP_STORAGE": f"s3://{bucket}/files",
            "HOST_APP_DEPOT": f"s3://{bucket}/backups",
            "HOST_APP_BUCKET_ENDPOINT": bucket_server.endpoint,
            "HOST_APP_SECRET_KEY": secrets.token_hex(32),
            "AWS_ACCESS_KEY_ID": s3.KEYS["access_key"],
            "AWS_SECRET_ACCESS_KEY": s3.KEYS["secret_key"],
            "AWS_DEFAULT_REGION": "us-east-1",
            **(settings or {}),
        }
        apart = shutil.which("unshare") is not None and can_be_apart()
        found = Cluster(
            *(folder, uri, postgresql, queue, bucket_server, environment, apart, threads),
            clocks=clocks or {},
        )
        stack.callback(found.kill_all)
        # Before the others: of two, one would find tables that are made half.
        seeded = found.flask(WEB[0], "seed", "--packages", "24")
        if seeded.returncode:
            raise RuntimeError(f"The registry could not be filled: {seeded.stderr}")
        for name in (*WEB, *WORKERS):
            found.start(name)
        yield found


def can_be_apart() -> bool:
    """Whether a process may have mounts of its own here."""
    mount = [*_unshare(), "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(mount, check=False, capture_output=True).returncode == 0


def _unshare() -> list[str]:
    return ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]


_SAYS = """
  The registry    {addresses}
  Sign in         as {admin}, password {password} (second factors: {totp})
  Backups         {backups}

  What one web process is asked for, worker 1 or worker 2 does, and each of them shows.
  Each has a directory of its own{apart}; the files and backups are in a bucket.
  Stop with Ctrl+C.
"""


def main() -> None:
    with cluster() as found:
        addresses = [f"http://127.0.0.1:{found.addresses[name].port}" for name in WEB]
        apart = ", which no other one sees" if found.apart else ""
        print(
            _SAYS.format(
                addresses=" and ".join(addresses),
                admin=ADMIN,
                password=PASSWORD,
                totp=TOTP_SECRET,
                backups=" and ".join(f"{each}/admin/backups" for each in addresses),
                apart=apart,
            ),
            flush=True,
        )
        with suppress(KeyboardInterrupt):
            while all(each.poll() is None for each in found.processes.values()):
                time.sleep(0.5)
            gone = [name for name, each in found.processes.items() if each.poll() is not None]
            raise SystemExit(f"{gone[0]} has ended: {found.log(gone[0])[-2000:]}")


if __name__ == "__main__":
    main()
