"""Which protected rights nobody would hold after a restore or an undo."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from hexhub_backup.notices import Notice, notice
from hexhub_backup.operations.choice import Choice
from hexhub_backup.operations.planned import PlannedRecord

#: How many active accounts hold each right, by protected field and the value's text.
Held = Mapping[tuple[str, str], int]


def lost(before: Held, after: Held) -> list[str]:
    """The fields with a right that somebody active held before, and nobody holds after."""
    return sorted({right[0] for right in before if after.get(right, 0) <= 0})


class Foreseen:
    """The rights that active accounts would hold after a restore, counted record by record."""

    def __init__(self, held: Held) -> None:
        self._before = held
        self._after = Counter(dict(held))
        self._archived: set[str] = set()

    def add(self, planned: PlannedRecord) -> None:
        """Count an account with what would become of it."""
        comparison = planned.comparison
        if planned.action is None:
            return
        for field, (now, then) in comparison.rights.items():
            if now is not None:
                self._after[field, now] -= 1
            if then is not None:
                self._after[field, then] += 1
        self._archived |= set(comparison.would_hold)

    @property
    def lost(self) -> list[str]:
        return lost(self._before, self._after)

    def notices(self, choice: Choice) -> Iterator[Notice]:
        for field in self.lost:
            yield notice("no_right_left", None, "lost", field=field)
        held = {field for (field, _), count in self._after.items() if count > 0}
        for field in sorted(self._archived - held - set(self.lost)):
            sentence = "archived_and_granted" if choice.protected else "archived"
            yield notice("no_right_left", None, sentence, field=field)
