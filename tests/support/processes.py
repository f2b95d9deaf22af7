"""What the system says of processes."""

from __future__ import annotations

from pathlib import Path


def workers(parent: int) -> list[int]:
    """The children of a server."""
    return [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/stat")
        if path.exists() and path.read_text().rsplit(")", 1)[1].split()[1] == str(parent)
    ]


def peak_memory(process_id: int) -> int:
    """Bytes: the most that a process has had."""
    for line in Path(f"/proc/{process_id}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError
