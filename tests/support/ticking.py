"""Ticks by a clock that a test sets."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from flask import Flask

from hexhub_backup.history.runs import Run, Runs
from hexhub_backup.jobs.backups import Backups
from hexhub_backup.schedule.tick import Ticked, next_at, tick
from hexhub_backup.verbs.base import Order


@dataclass
class Clock:
    """Shows what a test says."""

    now: datetime = field(default_factory=lambda: datetime.now(timezone.utc))

    def __call__(self) -> datetime:
        return self.now

    def goes(self, **time: float) -> None:
        self.now += timedelta(**time)


@dataclass
class Ticking:
    """Ticks in an app by a clock. What is ordered is run by `start`, and noted."""

    app: Flask
    backups: Backups
    clock: Clock
    ordered: list[Order] = field(default_factory=list)

    def __call__(self, *, run: bool = True) -> list[Ticked]:
        def start(app: Any, order: Order) -> None:
            if run:
                self.backups.orders.run(app, order)
            self.ordered.append(order)

        return tick(self.app, start, self.clock)

    def due(self, job: str) -> datetime:
        return next_at(self.app)[job]

    def set(self, **settings: Any) -> None:
        """Let the app have these settings of the schedule."""
        self.backups.settings = dataclasses.replace(self.backups.settings, **settings)

    def until(self, job: str) -> None:
        """Let the clock go on until a job is due."""
        self.clock.now = self.due(job)

    @property
    def runs(self) -> Runs:
        return Runs(self.backups.catalog.engine)

    def run(self, job: str) -> Run:
        return self.runs.all()[job]

    def verbs(self) -> list[str]:
        return [order.verb for order in self.ordered]


def dropped_from_the_cache(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The inodes of the files that the system's cache is told to drop from now on."""
    told: set[int] = set()
    tell = os.posix_fadvise

    def note(descriptor: int, *about: Any) -> None:
        assert about == (0, 0, os.POSIX_FADV_DONTNEED)
        told.add(os.fstat(descriptor).st_ino)
        tell(descriptor, *about)

    monkeypatch.setattr(os, "posix_fadvise", note)
    return told
