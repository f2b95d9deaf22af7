"""What `make demo` does for a developer who has read nothing."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

ROOT = Path(__file__).parents[2]


def start(data: Path, port: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "examples.host_app"],
        cwd=ROOT,
        env={**os.environ, "HOST_APP_DATA": str(data), "HOST_APP_PORT": port},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def seen(demo: subprocess.Popen[str]) -> tuple[str, str]:
    """What it says until it runs, and its first page then."""
    with demo:
        assert demo.stdout is not None
        try:
            said = ""
            for line in demo.stdout:
                said += line
                if running := re.search(r"Running on (http://\S+)", line):
                    # Over plain http browsers would keep no other one.
                    assert "Secure" not in urlopen(f"{running[1]}/login").headers["Set-Cookie"]
                    return said, urlopen(f"{running[1]}/").read().decode()
        finally:
            demo.terminate()
            demo.stdout.read()
    raise AssertionError(said)


def test_one_command_starts_a_filled_registry_and_says_where_it_is(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    said, page = seen(start(tmp_path, str(port)))
    assert f"http://127.0.0.1:{port}/login" in said
    assert "as admin, password hexhub-demo" in said
    assert "backups create" in said
    added = re.search(
        rf"mix hex.repo add acme http://127.0.0.1:{port}/repo "
        r"--fetch-public-key SHA256:\S{43} --auth-key hexhub-demo-key-of-admin\n",
        said,
    )
    assert added is not None, said
    assert '{:auth_gate, "~> 1.0", repo: "acme"}' in said
    assert "geo_index" in page


def test_a_port_that_is_none_or_taken_is_named(tmp_path: Path) -> None:
    with start(tmp_path, "http") as demo:
        said, _ = demo.communicate()
    assert demo.returncode == 1
    assert said == "The port is 'http'. Give a number from 1 to 65535.\n"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with start(tmp_path, str(port)) as demo:
            said, _ = demo.communicate()
    assert demo.returncode == 1
    assert said == f"Port {port} is taken. Name another, or none: then a free one is used.\n"


def test_without_a_port_the_next_free_one_is_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        # Whoever has it already takes it just as well.
        with suppress(OSError):
            taken.bind(("127.0.0.1", 5000))
            taken.listen()
        said, page = seen(start(tmp_path, ""))
    address = re.search(r"http://127\.0\.0\.1:(\d+)/login", said)
    assert address is not None
    assert 5000 < int(address[1]) < 5100
    assert "A registry was made, with 12 users, 24 packages and" in said
    assert "Stop with Ctrl+C" in said
    assert "geo_index" in page
    said, _ = seen(start(tmp_path, ""))
    assert "This is the registry of an earlier start" in said
