"""What somebody asks of a cluster, by its pages and by commands on its machines."""

from __future__ import annotations

import json
from typing import Any

from simple_websocket import ConnectionClosed  # type: ignore[import-untyped]

from tests.support.cluster import WORKERS, Cluster
from tests.support.patience import PATIENCE
from tests.support.serving import PREFIX, Address, Visitor


def create_at(address: Address, admin: Visitor) -> str:
    """Order a backup, and give its id."""
    headers = {"X_CSRFToken": admin.token, "Origin": address.origin}
    status, answer, body = address.request("POST", f"{PREFIX}/", admin, b"", **headers)
    assert status == 303, body
    return answer["Location"].rsplit("/", 1)[1]


def watched(address: Address, operation: str, admin: Visitor) -> list[dict[str, Any]]:
    """The events of an operation as they come, to its end."""
    events: list[dict[str, Any]] = []
    ws = address.watch(operation, admin)
    try:
        while True:
            data = ws.receive(timeout=PATIENCE)
            assert data is not None, events[-3:]
            events.append(json.loads(data))
    except ConnectionClosed:
        return events


def by_worker(running: Cluster, operation: str) -> str:
    """Which of the workers has run an operation."""
    (found,) = (name for name in WORKERS if f"{operation}] succeeded" in running.log(name))
    return found


def command(running: Cluster, name: str, *arguments: str) -> Any:
    """What `flask backups …` says on a machine, as JSON."""
    done = running.flask(name, "backups", *arguments, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)
