"""The lists: of backups, with the state of the whole, and of operations."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from flask import Blueprint, abort, render_template, request

from hexhub_backup import verbs
from hexhub_backup.history.instance import to_take_over
from hexhub_backup.history.lists import (
    ALL_BACKUPS,
    ALL_OPERATIONS,
    BACKUP_STATES,
    OPERATION_STATES,
    SORTS,
    BackupFilter,
    OperationFilter,
    count_listed,
    list_operations,
)
from hexhub_backup.history.models import ListedOperation
from hexhub_backup.history.store import utc_now
from hexhub_backup.marking import marked
from hexhub_backup.web import current

PAGE_SIZE = 20
#: A page of records, which take a line each.
RECORDS_PAGE_SIZE = 50
_RECENT = 6
#: Characters of a text that is looked for.
_TEXT_LENGTH = 200
#: Pages on each side of this one whose numbers are shown, besides the first and the last.
_NEAR = 2


@dataclass(frozen=True)
class Pages:
    """A page of a list of `found` entries, `size` on each; pages count from 1."""

    found: int
    page: int
    size: int = PAGE_SIZE

    @property
    def count(self) -> int:
        return max(1, math.ceil(self.found / self.size))

    @property
    def offset(self) -> int:
        """How many entries come before it."""
        return (self.page - 1) * self.size

    @property
    def last(self) -> int:
        """The number of its last entry."""
        return min(self.offset + self.size, self.found)

    @property
    def numbers(self) -> list[int | None]:
        """Which pages are shown, with None for those left out between two."""
        near = range(max(1, self.page - _NEAR), min(self.count, self.page + _NEAR) + 1)
        shown: list[int | None] = []
        before = 0
        for number in sorted({1, *near, self.count}):
            if number > before + 1:
                shown.append(None)
            shown.append(number)
            before = number
        return shown


def add_to(blueprint: Blueprint) -> None:
    """Add the lists to the blueprint."""
    blueprint.add_url_rule("/", "history", history)
    blueprint.add_url_rule("/operations", "operations", operations)


def history() -> str:
    """The backups, and what matters beside them."""
    current.look_into_depot()
    backups = current.backups()
    engine, destinations = backups.catalog.engine, list(backups.destinations)
    wanted = BackupFilter(
        text=asked_text(),
        state=one_of("state", BACKUP_STATES),
        place=one_of("place", destinations),
        kept="kept" in request.args,
        sort=one_of("sort", SORTS) or ALL_BACKUPS.sort,
    )
    total = count_listed(engine, ALL_BACKUPS)
    found = total if wanted == ALL_BACKUPS else count_listed(engine, wanted)
    pages = pages_of(found, marked("backups"))
    listed = backups.history.backups(wanted, offset=pages.offset, limit=PAGE_SIZE)
    # Before what has ended: else what ends in between would be nowhere.
    running = current.running()
    latest = backups.history.operations(limit=4 * _RECENT)
    followed = {each.follows_id for each in latest}
    # What runs is said at the top.
    ended = (each for each in latest if each.ended)
    recent = (each for each in ended if _is_news(each, followed=each.id in followed))
    return render_template(
        "hexhub_backup/history.html",
        backups=listed,
        total=total,
        pages=pages,
        wanted=wanted,
        is_filtered=wanted != ALL_BACKUPS,
        chosen=_chosen(wanted),
        states=list(BACKUP_STATES),
        sorts=SORTS,
        destinations=destinations,
        has_places=bool(destinations) or any(each.copies for each in listed),
        status=backups.status(utc_now()),
        found=to_take_over(engine) if any(each.foreign for each in listed) else 0,
        running=running,
        recent=list(islice(recent, _RECENT)),
    )


def operations() -> str:
    """What was done, and by whom."""
    # Recovery starts where one that is shown as running has no process any more.
    current.running()
    engine = current.backups().catalog.engine
    wanted = OperationFilter(
        text=asked_text(),
        verb=one_of("verb", verbs.VERBS),
        state=one_of("state", OPERATION_STATES),
    )
    pages = pages_of(count_listed(engine, wanted), marked("operations"))
    return render_template(
        "hexhub_backup/operations.html",
        operations=list_operations(engine, wanted, offset=pages.offset, limit=PAGE_SIZE),
        pages=pages,
        wanted=wanted,
        is_filtered=wanted != ALL_OPERATIONS,
        chosen=_chosen(wanted),
        verbs=list(verbs.VERBS),
        states=OPERATION_STATES,
    )


def asked_text() -> str:
    """The text that is looked for."""
    return request.args.get("text", "").strip()[:_TEXT_LENGTH]


def one_of(name: str, values: Collection[str]) -> str:
    """The value of a filter, or nothing. Aborts with 404 for another one."""
    given = request.args.get(name, "")
    if given and given not in values:
        abort(404, f"Nothing has the {name} {given}: choose one from the list.")
    return given


def _chosen(wanted: BackupFilter | OperationFilter) -> dict[str, Any]:
    """The arguments of an address that say the same."""
    default = asdict(type(wanted)())
    return {name: value for name, value in asdict(wanted).items() if value != default[name]}


def pages_of(found: int, what: str, size: int = PAGE_SIZE) -> Pages:
    """The page that is asked for, of so many entries. Aborts with 404 where there is none."""
    pages = Pages(found, request.args.get("page", 1, type=int), size)
    if not 1 <= pages.page <= pages.count:
        abort(404, f"There is no page {pages.page} of the {what}: there are {pages.count}.")
    return pages


def _is_news(operation: ListedOperation, *, followed: bool) -> bool:
    verb = verbs.VERBS.get(operation.verb)
    if verb is None or operation.state != "completed":
        return True
    # A plan that was replaced or restored is shown by the operation that followed.
    return verb.is_news(operation) and not (verb.makes_plan and followed)
