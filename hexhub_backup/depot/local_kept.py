"""What operations leave in the backup directory; see `operations.kept_file`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

#: The file of a plan's folder that is made last.
PLAN = "plan.sqlite"


@dataclass(frozen=True)
class LocalKept:
    """A file, which `delete` removes with what may lie beside it."""

    path: Path
    delete: Callable[[Path], None] = lambda path: path.unlink(missing_ok=True)

    def here(self) -> Path:
        return self.path

    def exists(self) -> bool:
        return self.path.exists()

    def keep(self) -> None:
        """Whoever makes it has made it durable."""

    def remove(self) -> None:
        self.delete(self.path)


class LocalPlan(LocalKept):
    """The folder of a plan, in which the plan itself comes last."""

    def exists(self) -> bool:
        return (self.path / PLAN).exists()

    def remove(self) -> None:
        with suppress(FileNotFoundError):
            shutil.rmtree(self.path)
