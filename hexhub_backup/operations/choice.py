"""What of an archive is restored, and what becomes of records that are there already."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from hexhub_backup.archive.records import PACKAGES, USERS, Key, Kind

Strategy = Literal["skip", "overwrite", "fail"]
STRATEGIES: tuple[Strategy, ...] = ("skip", "overwrite", "fail")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What an admin chose before a restore. A plan is made for one, and holds for no other."""

    strategy: Strategy = "skip"
    #: Protected columns are restored.
    protected: bool = False
    #: The archive's users are restored.
    users: bool = True
    #: Only these packages, with their releases, files and owners; None is all of them.
    packages: tuple[str, ...] | None = None
    #: Restores that the database refused: without the records that it did not take.
    without: tuple[str, ...] = ()

    @property
    def overwrite(self) -> bool:
        return self.strategy == "overwrite"

    @property
    def everything(self) -> bool:
        return self.users and self.packages is None

    def takes(self, kind: Kind, key: Key) -> bool:
        """Whether a record is to be restored at all."""
        if kind.root is USERS:
            return self.users
        # What belongs to no package is restored only together with all of them.
        return self.packages is None or (kind.root is PACKAGES and key[0] in self._packages)

    @cached_property
    def _packages(self) -> frozenset[str]:
        return frozenset(self.packages or ())

    def as_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def of_json(cls, value: dict[str, Any]) -> Choice:
        packages, without = value["packages"], value.get("without", ())
        return cls(
            **{
                **value,
                "packages": None if packages is None else tuple(packages),
                "without": tuple(without),
            }
        )
