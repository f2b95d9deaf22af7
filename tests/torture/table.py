"""The table of `docs/evidence/torture.md`: one row for each scenario and fault, added when that row
is complete, so that a run that was stopped goes on behind the rows that are there.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from tests.support.instance import ROOT

EVIDENCE = ROOT / "docs" / "evidence" / "torture.md"
#: What a change of makes the rows of another commit.
_TORTURED = ("hexhub_backup", "examples", "tests")
_COLUMNS = (
    *("date", "commit", "database", "scenario", "fault", "points", "of", "hit", "before"),
    *("after", "failures", "seconds"),
)
_HEAD = "\n".join(
    [
        "# Torture",
        "",
        "Written by `python -m tests.torture`; see `README.md` here.",
        "",
        f"| {' | '.join(_COLUMNS)} |",
        f"|{' --- |' * len(_COLUMNS)}",
        "",
    ]
)


@dataclass
class Row:
    """A scenario under a fault: `points` of the `of` that there are, of which `hit` did hit;
    where each ended, and what was wrong."""

    scenario: str
    fault: str
    of: int
    points: int = 0
    hit: int = 0
    before: int = 0
    after: int = 0
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.scenario:<20} {self.fault:<10} {self.points:6} of {self.of:6} points, "
            f"{self.hit:6} hit, {self.before:6} before, {self.after:6} after, "
            f"{len(self.failures):4} failures, {self.seconds:5.0f} s"
        )


class Table:
    """The rows of a commit and a database in a file of rows of all of them."""

    def __init__(self, path: Path, commit: str, database: str) -> None:
        self._path = path
        self._commit = commit
        self._database = database

    def has(self, scenario: str, fault: str, most: int) -> bool:
        """Whether a row is there, of `most` points or of all, and without a failure. What is not
        committed never is."""
        return not self._commit.endswith("+") and any(
            row["scenario"] == scenario
            and row["fault"] == fault
            and int(row["points"]) >= min(most, int(row["of"]))
            and row["failures"] == "0"
            for row in self._rows()
        )

    def add(self, row: Row) -> None:
        values = (
            *(
                f"{datetime.now(timezone.utc):%Y-%m-%d}",
                self._commit,
                self._database,
                row.scenario,
                row.fault,
            ),
            *(row.points, row.of, row.hit, row.before, row.after, len(row.failures)),
            round(row.seconds),
        )
        self._path.parent.mkdir(parents=True, exist_ok=True)
        text = self._path.read_text() if self._path.exists() else _HEAD
        # A line that was cut short is no row.
        text = text[: text.rfind("\n") + 1]
        part = self._path.with_suffix(".part")
        part.write_text(f"{text}| {' | '.join(map(str, values))} |\n")
        part.replace(self._path)

    def _rows(self) -> list[dict[str, str]]:
        text = self._path.read_text() if self._path.exists() else ""
        found = []
        for line in text[: text.rfind("\n") + 1].splitlines():
            values = [value.strip() for value in line.strip("|").split(" | ")]
            row = dict(zip(_COLUMNS, values, strict=False))
            if (row.get("commit"), row.get("database")) == (self._commit, self._database):
                found.append(row)
        return found


def commit(root: Path = ROOT) -> str:
    """The last commit that changed what is tortured, with a `+` where it has changed since."""

    def git(*arguments: str) -> str:
        command = ["git", *arguments, "--", *_TORTURED]
        return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout

    changed = "+" if git("status", "--porcelain").strip() else ""
    return git("log", "-1", "--format=%h", "--abbrev=12").strip() + changed
