"""What of an archive is restored, and what becomes of records that are there already."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from hexhub_backup.archive.records import PACKAGES, RELEASES, USERS, Key, Kind

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
    #: Only these releases, and those of `packages`, with their files. Their own packages come with
    #: them where they are not here: none is replaced for a release.
    releases: tuple[Key, ...] = ()
    #: Restores that the database refused: without the records that it did not take.
    without: tuple[str, ...] = ()

    @property
    def overwrite(self) -> bool:
        return self.strategy == "overwrite"

    @property
    def everything(self) -> bool:
        return self.users and self.all_packages

    @property
    def all_packages(self) -> bool:
        """Whether no package is left out."""
        return self.packages is None and not self.releases

    def takes(self, kind: Kind, key: Key) -> bool:
        """Whether a record is to be restored at all."""
        if kind.root is USERS:
            return self.users
        if self.all_packages:
            return True
        if kind.root is not PACKAGES:
            # What belongs to no package is restored only together with all of them.
            return False
        if key[0] in self._packages or (kind is RELEASES and key in self._releases):
            return True
        return kind is PACKAGES and not self.overwrite and key[0] in self._packages_of_releases

    @cached_property
    def _packages(self) -> frozenset[str]:
        return frozenset(self.packages or ())

    @cached_property
    def _releases(self) -> frozenset[Key]:
        return frozenset(self.releases)

    @cached_property
    def _packages_of_releases(self) -> frozenset[str]:
        return frozenset(package for package, *_ in self._releases)

    def as_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def of_json(cls, value: dict[str, Any]) -> Choice:
        packages, without = value["packages"], value.get("without", ())
        return cls(
            **{
                **value,
                "packages": None if packages is None else tuple(packages),
                "releases": tuple(map(tuple, value.get("releases", ()))),
                "without": tuple(without),
            }
        )
