"""What was measured beside what it may be, as Markdown and as JSON."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Result:
    """One cell of the table: `what` was measured of `column`. `most` is what it may be at most,
    None for what is only told; `details` are the figures that it comes from."""

    what: str
    column: str
    value: float
    unit: str
    most: float | None = None
    details: dict[str, float] = field(default_factory=dict)

    @property
    def missed(self) -> bool:
        return self.most is not None and self.value > self.most

    @property
    def text(self) -> str:
        """`0.43 x (≤ 0.5)`."""
        said = f"{self.value:.2f} {self.unit}"
        if self.most is None:
            return said
        return f"{said} ({'>' if self.missed else '≤'} {self.most:g})"

    @property
    def cell(self) -> str:
        return f"**{self.text}**" if self.missed else self.text


@dataclass
class Report:
    """All results of a run."""

    about: dict[str, Any]
    results: list[Result] = field(default_factory=list)

    @property
    def missed(self) -> list[Result]:
        return [result for result in self.results if result.missed]

    def write(self, path: Path) -> None:
        results = [
            {**dataclasses.asdict(result), "missed": result.missed} for result in self.results
        ]
        path.write_text(json.dumps({**self.about, "results": results}, indent=1) + "\n")


def machine() -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
    }


def markdown(results: list[Result]) -> Iterator[str]:
    """The lines of the table: what was measured, by column; and of the figures behind it."""
    columns = list(dict.fromkeys(result.column for result in results))
    yield f"| | {' | '.join(columns)} |"
    yield f"| --- |{' --- |' * len(columns)}"
    for what in dict.fromkeys(result.what for result in results):
        cells = {result.column: result.cell for result in results if result.what == what}
        yield f"| {what} | {' | '.join(cells.get(column, '') for column in columns)} |"
    yield ""
    for result in results:
        if result.details:
            figures = ", ".join(f"{name} {value:.2f}" for name, value in result.details.items())
            yield f"- {result.column}, {result.what}: {figures}"
