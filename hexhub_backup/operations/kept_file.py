"""What an operation makes on its machine, to be read on any: plans, undo sets, lists."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class KeptFile(Protocol):
    """One of these, there or not: a file, or a folder. Raises OSError, BackupError."""

    def here(self) -> Path:
        """Where it is on this machine, to be read, or to be made: it is brought here first, where
        it is kept elsewhere."""

    def exists(self) -> bool:
        """Whether it is kept."""

    def keep(self) -> None:
        """It can be read from now on as it is: keep it for all machines, durably. As often as there
        is more in it."""

    def remove(self) -> None:
        """Let nothing be left of it on any machine. Idempotent."""
