"""The page of a plan: what a restore would do, another choice, and the restore itself."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, cast

from flask import Blueprint, abort, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from hexhub_backup.errors import ArchiveError, NotFoundError
from hexhub_backup.history.models import Backup, Operation
from hexhub_backup.operations.choice import STRATEGIES, Choice
from hexhub_backup.operations.plan import (
    KIND_OF,
    STATES,
    Note,
    Plan,
    PlannedFile,
    PlannedRecord,
)
from hexhub_backup.web import access, here, overlooked
from hexhub_backup.web.filters import number, plural
from hexhub_backup.web.outcomes import operation_page

PAGE_SIZE = 50
_MAX_PAGE = 10**9
#: So many packages can be ticked; of more the names are typed.
_TICKED = 500
#: What a form's `which` says of packages.
_WHICH = ("all", "chosen", "none")


def add_to(blueprint: Blueprint) -> None:
    """Give the blueprint the pages of plans."""
    blueprint.add_url_rule("/plans/<plan_id>", "plan", plan, methods=["GET"])
    blueprint.add_url_rule("/plans/<plan_id>", access.CHOICE, decide, methods=["POST"])


def plan(plan_id: str) -> ResponseReturnValue:
    """The plan, and until it is there the inspection that makes it."""
    inspected = _inspected(plan_id)
    if inspected.state != "completed":
        return operation_page(inspected)
    return _page(inspected)


def _inspected(plan_id: str) -> Operation:
    try:
        found = here.operation(plan_id)
    except NotFoundError:
        found = None
    if found is None or found.verb != "inspect":
        abort(404, f"There is no plan {plan_id}. What is past the retention is forgotten.")
    return found


def decide(plan_id: str) -> ResponseReturnValue:
    """Restore (`do=restore`), plan for another choice (`do=plan`), for the same (`do=again`), or
    without what the database refused in the restore `refused_in` (`do=without`)."""
    inspected, does = _inspected(plan_id), request.form.get("do")
    if inspected.state != "completed":
        return redirect(url_for(".plan", plan_id=plan_id), code=303)
    if not here.backups().has_plan(inspected):
        return _gone(inspected)
    if does == "restore":
        return _restore(inspected)
    if does not in ("plan", "again", "without"):
        abort(400, "Nothing was done: the form does not say what to do.")
    try:
        same = Choice.of_json(inspected.options["choice"])
        if does == "plan":
            without = same.without if "without" in request.form else ()
            return _plan_again(plan_id, replace(_choice(), without=without))
        return _plan_again(plan_id, _without(same) if does == "without" else same)
    except _FormError as error:
        return _page(inspected, error=error)


def _without(choice: Choice) -> Choice:
    """Aborts with 404 where the form names no restore that was refused."""
    name = request.form.get("refused_in", "")
    backups = here.backups()
    if not backups.has_refused(backups.catalog.operation(name)):
        abort(404, f"The database refused no records in operation {name}.")
    return replace(choice, without=(*dict.fromkeys((*choice.without, name)),))


def _plan_again(plan_id: str, choice: Choice) -> ResponseReturnValue:
    backups = here.backups()
    planned = backups.start(backups.inspect_again(here.app(), here.who(), plan_id, choice))
    return redirect(url_for(".plan", plan_id=planned), code=303)


def _restore(inspected: Operation) -> ResponseReturnValue:
    backups = here.backups()
    with closing(backups.plan(inspected.id)) as found:
        replaced = found.replaces()
    if replaced and _number(request.form.get("replaces", "")) != replaced:
        return _page(inspected, error=_FormError("replaces", _wrong_number(replaced)))
    backup_first = "backup_first" in request.form
    job = backups.restore(here.app(), here.who(), inspected.id, backup_first=backup_first)
    return redirect(url_for(".operation", operation_id=backups.start(job)), code=303)


def _number(text: str) -> int | None:
    """A number as people type it: `1234`, `1,234`, `1 234`."""
    plain = "".join(text.split()).replace(",", "")
    return int(plain) if plain.isascii() and plain.isdigit() else None


def _wrong_number(replaced: int) -> str:
    return (
        f"That is not the number of records that are replaced. Nothing was done: type {replaced:,}."
    )


# the form of a choice


class _FormError(Exception):
    """What a form can't mean: `field` is what to mend."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def _choice() -> Choice:
    """The choice that the form makes. Raises _FormError; aborts with 400."""
    form = request.form
    strategy, which = form.get("conflict_strategy", "skip"), form.get("which", "all")
    if strategy not in STRATEGIES:
        abort(400, f"There is no strategy {strategy!r}: {', '.join(STRATEGIES)}.")
    if which not in _WHICH:
        abort(400, f"There is no choice {which!r} of packages: {', '.join(_WHICH)}.")
    choice = Choice(
        strategy=strategy,
        protected="grant_protected" in form,
        users="users" in form,
    )
    if which == "all":
        return choice
    names = form.getlist("package") + form.get("packages", "").replace(",", " ").split()
    if which == "chosen" and not names:
        raise _FormError("which", "No package is chosen: choose one at least, or all.")
    if which == "none" and not choice.users:
        raise _FormError("which", "Without users and packages there is nothing to restore.")
    return replace(choice, packages=tuple(sorted(set(names))) if which == "chosen" else ())


# the page


@dataclass(frozen=True)
class Entry:
    """One record of a plan as the list shows it; `files` are those of a release."""

    kind: str
    label: str
    record: PlannedRecord
    files: list[PlannedFile]


@dataclass(frozen=True)
class Listing:
    """One page of the records, or of the notes of a code, that were asked for."""

    kind: str
    state: str
    text: str
    note: str
    page: int
    count: int
    entries: list[Entry]
    notes: list[Note]

    @property
    def pages(self) -> int:
        return max(1, math.ceil(self.count / PAGE_SIZE))

    @property
    def first(self) -> int:
        return (self.page - 1) * PAGE_SIZE + 1

    @property
    def filters(self) -> dict[str, str]:
        """The parameters of the address that are not the page."""
        names = ("kind", "state", "text", "note")
        return {name: getattr(self, name) for name in names if getattr(self, name)}


def _page(inspected: Operation, *, error: _FormError | None = None) -> ResponseReturnValue:
    backups = here.backups()
    try:
        found = backups.plan(inspected.id)
    except NotFoundError:
        return _gone(inspected)
    with closing(found):
        names, archive_gone = None, False
        try:
            names = backups.packages_of(inspected.id, at_most=_TICKED)
        except (NotFoundError, ArchiveError):
            archive_gone = True
        effect = {kind.name: found.effect(kind) for kind in KIND_OF.values()}
        listing = _listing(found)
        page = render_template(
            "hexhub_backup/plan.html",
            inspected=inspected,
            backup=_backup_of(inspected),
            choice=found.choice,
            strategies=STRATEGIES,
            states={kind.name: found.states(kind) for kind in KIND_OF.values()},
            effect=effect,
            total=_total(effect),
            files=found.file_counts(),
            sentence=_sentence(_total(effect), found.file_counts()),
            replaces=found.replaces(),
            blocks=list(overlooked.blocks(found)),
            listing=listing,
            note_title=overlooked.title(listing.note, listing.count),
            page_size=PAGE_SIZE,
            package_names=names,
            package_count=found.about["totals"]["packages"],
            archive_gone=archive_gone,
            own=inspected.actor == here.who().actor,
            running=here.running(),
            error=error,
            typed=request.form,
            effect_of=effect_of,
            file_lines=file_lines,
        )
    return page, 200 if error is None else 422


def _gone(inspected: Operation) -> ResponseReturnValue:
    """The way on from a plan that is not there any more."""
    page = render_template(
        "hexhub_backup/plan_gone.html",
        inspected=inspected,
        backup=_backup_of(inspected),
        done=here.backups().carried_out_by(inspected),
    )
    return page, 404


def _backup_of(inspected: Operation) -> Backup | None:
    try:
        return None if inspected.backup_id is None else here.backup(inspected.backup_id)
    except NotFoundError:
        return None


def _total(effect: dict[str, dict[str, int]]) -> dict[str, int]:
    """The effect on all kinds together."""
    names = next(iter(effect.values()))
    return {name: sum(counts[name] for counts in effect.values()) for name in names}


def _sentence(total: Mapping[str, int], files: Mapping[Any, int]) -> str:
    """What a restore would do to the registry, in numbers."""
    stays = total["unchanged"] + total["skipped"]
    out = "{} can't be written and "
    sentences = (
        _enumerated(
            "Restoring ",
            "record",
            (total["created"], "creates {}"),
            (total["overwritten"], "replaces {}"),
            (stays, "leaves {} as it is", "leaves {} as they are"),
        ),
        _enumerated("", "record", (total["left_out"], f"{out}is left out", f"{out}are left out")),
        _enumerated("", "record", (total["not_chosen"], "{} is not chosen", "{} are not chosen")),
        _enumerated(
            "",
            "file",
            (files["place"], "{} is placed", "{} are placed"),
            (files["replace"], "{} is replaced", "{} are replaced"),
        ),
    )
    return " ".join(filter(None, sentences))


def _enumerated(start: str, word: str, *parts: tuple[Any, ...]) -> str:
    """A sentence of `(count, text of one, text of many)`, without those of which there are none:
    `Restoring creates 2 records, replaces 3 and leaves 1 as it is.`"""
    found: list[str] = []
    for count, one, *many in parts:
        if count:
            text = one if count == 1 or not many else many[0]
            found.append(text.format(number(count) if found else plural(count, word)))
    if not found:
        return ""
    return f"{start}{' and '.join(filter(None, (', '.join(found[:-1]), found[-1])))}."


def _listing(found: Plan) -> Listing:
    """What the address asks for. Aborts with 404 for what is not there."""
    asked = {name: request.args.get(name, "").strip() for name in ("kind", "state", "text", "note")}
    page = request.args.get("page", 1, type=int)
    if (asked["kind"] or "users") not in KIND_OF or (asked["state"] or "create") not in STATES:
        abort(404, "The plan has no such kind or state of records.")
    if not 1 <= page <= _MAX_PAGE:
        abort(404, "There is no such page of the plan.")
    offset = (page - 1) * PAGE_SIZE
    notes: list[Note] = []
    entries: list[Entry] = []
    if asked["note"]:
        count = found.note_counts().get(asked["note"], 0)
        notes = list(found.notes(asked["note"], offset=offset, limit=PAGE_SIZE))
    else:
        kind, state, text = asked["kind"], asked["state"] or None, asked["text"]
        count, entries = _entries(found, offset, kind=kind, state=cast(Any, state), text=text)
    listing = Listing(**asked, page=page, count=count, entries=entries, notes=notes)
    if page > listing.pages:
        abort(404, f"There is no page {page} of the plan: there are {listing.pages}.")
    return listing


def _entries(
    found: Plan, offset: int, *, kind: str, state: Any, text: str
) -> tuple[int, list[Entry]]:
    """How many records there are, and a page of them from `offset` on."""
    count, entries = 0, list[Entry]()
    for each in [KIND_OF[kind]] if kind else KIND_OF.values():
        skipped = max(0, offset - count)
        left = PAGE_SIZE - len(entries)
        total, records = found.search(each, state=state, text=text, offset=skipped, limit=left)
        count += total
        for record in records:
            key, n = record.comparison.key, record.comparison.n
            files = found.files_of(n) if each.name == "releases" else []
            entries.append(Entry(each.name, each.label(key), record, files))
    return count, entries


def effect_of(record: PlannedRecord) -> str:
    """What becomes of a record, in a word or two."""
    if record.action == "create":
        return "is created"
    if record.action == "overwrite":
        return "is replaced"
    return "is left out" if record.state == "blocked" else "stays as it is"


def file_lines(files: list[PlannedFile]) -> Iterator[PlannedFile]:
    """The files of a release that are placed, replaced or differ."""
    return (each for each in files if each.action is not None or each.differs)
