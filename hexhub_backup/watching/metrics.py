"""The metrics of the backups, for Prometheus.

All are read from our tables and the backup directory when they are asked for. So each process of
a server gives the same answer, and prometheus_client needs no multiprocess mode.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from hexhub_backup.destinations.base import HERE
from hexhub_backup.due import is_ahead
from hexhub_backup.history.alerts import ActiveAlerts
from hexhub_backup.history.findings import last_check
from hexhub_backup.history.kept import History
from hexhub_backup.history.runs import BACKUP, Runs
from hexhub_backup.history.store import utc_now
from hexhub_backup.history.summary import (
    count_backups,
    count_copies,
    count_operations,
    last_rehearsal,
)


def exposition(history: History, accept: str) -> tuple[bytes, str]:
    """The metrics in the format that a scraper accepts, and the content type of that format.
    Raises DatabaseError."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Backups(history))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Backups(Collector):
    def __init__(self, history: History) -> None:
        self._history = history

    def collect(self) -> Iterator[Metric]:
        yield from self._last_success()
        yield from self._backups()
        yield from self._rehearsed()
        yield from self._operations()
        yield from self._due()
        yield self._findings()
        room = _gauge("room_bytes", "Bytes that are free in a place.", ("place",))
        if self._history.depot.trouble() is None:
            free = self._history.depot.free()
            if free is not None:
                room.of(free, HERE)
        yield room

    def _due(self) -> Iterator[Metric]:
        next_run = _gauge("next_run_timestamp_seconds", "When the next backup is due by schedule.")
        run = Runs(self._history.catalog.engine).all().get(BACKUP)
        if run is not None:
            next_run.of(run.acts_at.timestamp())
        alerts = _gauge("alert_active", "1 for each problem that somebody was told of.", ("code",))
        for alert in ActiveAlerts(self._history.catalog.engine).all().values():
            if alert.event != "cleared":
                alerts.of(1, alert.code)
        yield from (next_run, alerts)

    def _findings(self) -> Metric:
        """Nothing where the registry was not checked."""
        found = _gauge(
            "registry_findings",
            "The files of the registry that its last check found missing, changed, unfit or stray.",
            ("found",),
        )
        last = last_check(self._history.catalog.engine)
        for name, count in {} if last is None else last.found.items():
            found.of(count, name)
        return found

    def _last_success(self) -> Iterator[Metric]:
        """Nothing where there is no good backup: an alert asks with `absent()`. One that is dated
        ahead would hide that there is none."""
        at = _gauge(
            "last_success_timestamp_seconds", "When the newest good backup was made.", ("place",)
        )
        size = _gauge("last_success_size_bytes", "The size of the newest good backup.", ("place",))
        took = _gauge("last_success_duration_seconds", "What the newest good backup took.")
        records = _gauge("last_success_records", "What the newest good backup holds.", ("kind",))
        now = utc_now()
        newest = next(
            (
                each
                for each in self._history.good_backups(own=True)
                if not (each.elsewhere or is_ahead(each.created_at, now))
            ),
            None,
        )
        if newest is not None:
            at.of(newest.created_at.timestamp(), HERE)
            if newest.size_bytes is not None:
                size.of(newest.size_bytes, HERE)
            if newest.duration_seconds is not None:
                took.of(newest.duration_seconds)
            for kind, count in (newest.contents or {}).items():
                records.of(count, kind)
        for place, (backup, copy) in self._history.latest_copies().items():
            at.of(backup.created_at.timestamp(), place)
            if copy.size_bytes is not None:
                size.of(copy.size_bytes, place)
        yield from (at, size, took, records)

    def _backups(self) -> Iterator[Metric]:
        """One that a check found damaged is `damaged`, here or elsewhere."""
        counts = Counter[tuple[str, str]]()
        verified = _gauge(
            "last_verified_timestamp_seconds",
            "When a backup was last verified and intact.",
            ("place",),
        )
        for each in count_backups(self._history.catalog.engine):
            state = "damaged" if each.intact is False else each.state
            counts[HERE, state] += each.count
            if each.intact and each.verified_at is not None:
                verified.of(each.verified_at.timestamp(), HERE)
        checked: dict[str, datetime] = {}
        for backup in self._history.all_backups() if self._history.places else ():
            for copy in backup.good_copies:
                if copy.intact and copy.verified_at is not None:
                    last = checked.get(copy.place, copy.verified_at)
                    checked[copy.place] = max(last, copy.verified_at)
        for place, moment in checked.items():
            verified.of(moment.timestamp(), place)
        backups = _gauge("backups", "The backups that are remembered.", ("place", "state"))
        for found in count_copies(self._history.catalog.engine):
            state = "missing" if found.missing else "damaged" if found.lost else "copied"
            counts[found.place, state] += found.count
        for labels, count in counts.items():
            backups.of(count, *labels)
        yield from (backups, verified)

    def _rehearsed(self) -> Iterator[Metric]:
        at = _gauge("last_rehearsal_timestamp_seconds", "When a restore was last rehearsed.")
        restorable = _gauge("last_rehearsal_restorable", "1 where all of it came back, else 0.")
        last = last_rehearsal(self._history.catalog.engine)
        if last is not None:
            at.of(last.rehearsed_at.timestamp())
            restorable.of(int(last.restorable))
        yield from (at, restorable)

    def _operations(self) -> Iterator[Metric]:
        """Gauges, as old operations are forgotten: a counter never goes down."""
        count = _gauge("operations", "The operations that are remembered.", ("verb", "state"))
        at = _gauge(
            "last_operation_timestamp_seconds",
            "When the last operation of a verb came to a state.",
            ("verb", "state"),
        )
        took = _gauge(
            "last_operation_duration_seconds",
            "What the last operation of a verb in a state took.",
            ("verb", "state"),
        )
        for each in count_operations(self._history.catalog.engine):
            count.of(each.count, each.verb, each.state)
            if each.finished_at is not None:
                at.of(each.finished_at.timestamp(), each.verb, each.state)
            if each.duration_seconds is not None:
                took.of(each.duration_seconds, each.verb, each.state)
        yield from (count, at, took)


class _Gauge(GaugeMetricFamily):
    def of(self, value: float, *labels: str) -> _Gauge:
        """Add a sample, and return the gauge."""
        self.add_metric(labels, value)
        return self


def _gauge(name: str, help_: str, labels: tuple[str, ...] = ()) -> _Gauge:
    return _Gauge(f"hexhub_backup_{name}", help_, labels=labels)
