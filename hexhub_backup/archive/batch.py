"""Some records of one kind at a time, by their fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hexhub_backup.archive.records import Record


@dataclass(frozen=True)
class Batch:
    """Some records of one kind, at least one: each of their fields, in alphabetical order, with
    a list or tuple of its values in the records."""

    columns: Mapping[str, Sequence[Any]]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def records(self) -> Iterator[Record]:
        for values in zip(*self.columns.values(), strict=True):
            yield dict(zip(self.columns, values, strict=True))
