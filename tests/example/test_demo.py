"""What `make demo` does for a developer who has read nothing."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
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


def test_one_command_starts_a_filled_registry_and_says_where_it_is(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with start(tmp_path, str(port)) as demo:
        assert demo.stdout is not None
        try:
            said = ""
            for line in demo.stdout:
                said += line
                if "Running on" in line:
                    break
            page = urlopen(f"http://127.0.0.1:{port}/").read().decode()
        finally:
            demo.terminate()
            demo.stdout.read()
    assert f"http://127.0.0.1:{port}/login" in said
    assert "as admin, password hexhub-demo" in said
    assert "backups create" in said
    assert "geo_index" in page


def test_a_port_that_is_none_is_named(tmp_path: Path) -> None:
    with start(tmp_path, "http") as demo:
        said, _ = demo.communicate()
    assert demo.returncode == 1
    assert said == "HOST_APP_PORT is 'http'. Give a number from 1 to 65535.\n"
