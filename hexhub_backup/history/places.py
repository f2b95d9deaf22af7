"""What was found out about the destinations, by the last check and by copies."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, update

from hexhub_backup.destinations.base import Destination
from hexhub_backup.history.tables import places
from hexhub_backup.history.transactions import GetEngine, add_new, begin
from hexhub_backup.operations.check import Checked, Step


@dataclass(frozen=True, kw_only=True)
class Place:
    """A destination: its `notes`, and when it was checked last and what that found; None and
    nothing where it never was."""

    notes: tuple[str, ...]
    checked_at: datetime | None
    steps: tuple[Step, ...]

    @property
    def failed(self) -> Step | None:
        """The step in which the last check failed."""
        return next((step for step in self.steps if not step.ok), None)


@dataclass(frozen=True)
class Places:
    """The rows. Every method is one or two short transactions. Raises DatabaseError."""

    engine: GetEngine

    def all(self, destinations: list[Destination]) -> dict[str, Place]:
        """What is known of these, by their names. Nothing of one that was somewhere else then."""
        with begin(self.engine) as connection:
            rows = {row.name: row for row in connection.execute(select(places))}
        return {
            each.name: Place(
                notes=tuple(row.notes),
                checked_at=row.checked_at,
                steps=tuple(Step(**step) for step in row.steps),
            )
            for each in destinations
            if (row := rows.get(each.name)) is not None and row.location == each.location
        }

    def note(self, destination: Destination, notes: tuple[str, ...]) -> None:
        """Remember what a destination said of itself."""
        known = self.all([destination]).get(destination.name)
        if known is None:
            self._put(destination, notes=[*notes], checked_at=None, steps=[])
        elif known.notes != notes:
            self._put(destination, notes=[*notes])

    def check(self, destination: Destination, found: Checked, now: datetime) -> None:
        """Remember what a check has found."""
        steps = [vars(step) for step in found.steps]
        # Where it did not answer, nothing new is known.
        known = self.all([destination]).get(destination.name)
        notes = found.notes if found.ok or known is None else known.notes
        self._put(destination, notes=[*notes], checked_at=now, steps=steps)

    def _put(self, destination: Destination, **values: Any) -> None:
        values["location"] = destination.location
        if not add_new(self.engine, places, {"name": destination.name, **values}):
            query = update(places).where(places.c.name == destination.name)
            with begin(self.engine) as connection:
                connection.execute(query.values(**values))
