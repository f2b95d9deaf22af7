"""The page of a plan: what a restore would do, another choice, and the restore itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter
from typing import Any

from flask import Blueprint, abort, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from markupsafe import Markup

from hexhub_backup import verbs
from hexhub_backup.archive.records import KINDS, RELEASES, Kind
from hexhub_backup.errors import ArchiveError, NotFoundError
from hexhub_backup.history.models import Backup, Operation
from hexhub_backup.marking import marked, marked_plural
from hexhub_backup.notices import NOTICES
from hexhub_backup.operations.choice import STRATEGIES, Choice
from hexhub_backup.operations.notes import blocks
from hexhub_backup.operations.plan import KIND_OF, STATES, Plan
from hexhub_backup.operations.planned import PlannedFile, PlannedRecord
from hexhub_backup.web import access, current
from hexhub_backup.web.lists import RECORDS_PAGE_SIZE, Pages, asked_text, one_of, pages_of
from hexhub_backup.web.outcomes import operation_page
from hexhub_backup.web.texts import plural

#: Up to this number packages are ticked; of more, the names are typed.
_TICKED = 500
#: A block shows so many notices; the others are on a page of their own.
_LISTED_NOTICES = 10
#: Groups of records are open, from the first on, while they have no more than so many together.
_OPEN = 10
#: The states as people call them, in the order of the page: first what needs a look.
_STATE_WORDS: Mapping[Any, str] = {
    "conflict": marked("in conflict"),
    "blocked": marked("blocked"),
    "create": marked("to create"),
    "unchanged": marked("unchanged"),
}
#: The values of `which` in a form: which packages are restored.
_WHICH = ("all", "releases", "chosen", "none")


def add_to(blueprint: Blueprint) -> None:
    """Add the pages of plans to the blueprint."""
    blueprint.add_url_rule("/plans/<plan_id>", "plan", plan, methods=["GET"])
    blueprint.add_url_rule("/plans/<plan_id>", access.CHOICE, decide, methods=["POST"])


def plan(plan_id: str) -> ResponseReturnValue:
    """The plan, or until it is complete the inspection that makes it."""
    inspected = _inspected(plan_id)
    if inspected.state != "completed":
        return operation_page(inspected)
    return _page(inspected)


def _inspected(plan_id: str) -> Operation:
    try:
        inspected = current.operation(plan_id)
    except NotFoundError:
        inspected = None
    verb = None if inspected is None else verbs.VERBS.get(inspected.verb)
    if inspected is None or verb is None or not verb.makes_plan:
        abort(404, f"There is no plan {plan_id}. Operations are forgotten after the retention.")
    return inspected


def decide(plan_id: str) -> ResponseReturnValue:
    """Restore (`do=restore`), plan for another choice (`do=plan`), for the same (`do=again`), or
    without what the database refused in the restore `refused_in` (`do=without`)."""
    inspected, does = _inspected(plan_id), request.form.get("do")
    if inspected.state != "completed":
        return redirect(url_for(".plan", plan_id=plan_id), code=303)
    if not current.backups().plans.exists(inspected):
        return _gone(inspected)
    if does == "restore":
        return _restore(inspected)
    if does not in ("plan", "again", "without"):
        abort(400, "Nothing was done, because the form does not say what to do.")
    try:
        same = Choice.of_json(inspected.options["choice"])
        if does == "plan":
            without = same.without if "without" in request.form else ()
            return _plan_again(plan_id, replace(_choice(same), without=without))
        return _plan_again(plan_id, _without(same) if does == "without" else same)
    except _FormError as error:
        return _page(inspected, error=error)


def _without(choice: Choice) -> Choice:
    """The choice without the records that the database refused in the restore `refused_in`. Aborts
    with 404 where the database refused none there."""
    name = request.form.get("refused_in", "")
    backups = current.backups()
    if not backups.history.has_refused(backups.catalog.operation(name)):
        abort(404, f"The database refused no records in operation {name}.")
    return replace(choice, without=(*dict.fromkeys((*choice.without, name)),))


def _plan_again(plan_id: str, choice: Choice) -> ResponseReturnValue:
    backups = current.backups()
    planned = backups.orders.start(
        current.app(), verbs.inspect.order_again(backups.plans, current.who(), plan_id, choice)
    )
    return redirect(url_for(".plan", plan_id=planned), code=303)


def _restore(inspected: Operation) -> ResponseReturnValue:
    backups = current.backups()
    with closing(backups.plans.open(inspected.id)) as plan:
        replaced = plan.replaces()
    if replaced and _number(request.form.get("replaces", "")) != replaced:
        return _page(inspected, error=_FormError("replaces", _wrong_number(replaced)))
    backup_first = "backup_first" in request.form
    order = verbs.restore.order(
        backups.plans, current.who(), inspected.id, backup_first=backup_first
    )
    operation_id = backups.orders.start(current.app(), order)
    return redirect(url_for(".operation", operation_id=operation_id), code=303)


def _number(text: str) -> int | None:
    """A number as people type it, or see it in their language: `1234`, `1,234`, `1.234`,
    `1 234`."""
    plain = "".join(text.split()).replace(",", "").replace(".", "")
    return int(plain) if plain.isascii() and plain.isdigit() else None


def _wrong_number(replaced: int) -> str:
    return marked(f"Type {replaced:,} to confirm. Nothing has been changed.")


# the form of a choice


class _FormError(Exception):
    """A form that makes no choice; `field` names the field to fix."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def _choice(before: Choice) -> Choice:
    """The choice in the form of a plan that was made for another one. Raises _FormError; aborts
    with 400."""
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
    if which == "releases":
        return replace(choice, packages=before.packages, releases=before.releases)
    names = form.getlist("package") + form.get("packages", "").replace(",", " ").split()
    if which == "chosen" and not names:
        raise _FormError("which", "Choose at least one package, or all.")
    if which == "none" and not choice.users:
        raise _FormError("which", "Without users and packages there is nothing to restore.")
    return replace(choice, packages=tuple(sorted(set(names))) if which == "chosen" else ())


# the page


@dataclass(frozen=True)
class Entry:
    """One record in the list, with its `files` where it is a release."""

    label: str
    record: PlannedRecord
    files: list[PlannedFile]


@dataclass(frozen=True)
class Group:
    """The records on a page that have their kind, their state and its cause in common; `count` is
    how many there are on all pages, and `is_open` says that they are shown at once."""

    kind: Kind
    state: str
    cause: str
    count: int
    is_open: bool
    entries: list[Entry]


def _page(inspected: Operation, *, error: _FormError | None = None) -> ResponseReturnValue:
    backups = current.backups()
    try:
        plan = backups.plans.open(inspected.id)
    except NotFoundError:
        return _gone(inspected)
    with closing(plan):
        names, archive_gone = None, False
        try:
            names = backups.plans.packages_of(inspected.id, at_most=_TICKED)
        except (NotFoundError, ArchiveError):
            archive_gone = True
        effect = {kind.name: plan.effect(kind) for kind in KINDS}
        total, files = _total(effect), plan.file_counts()
        page = render_template(
            "hexhub_backup/plan.html",
            inspected=inspected,
            backup=_backup_of(inspected),
            choice=plan.choice,
            states={kind.name: plan.states(kind) for kind in KINDS},
            state_words=_STATE_WORDS,
            effect=effect,
            total=total,
            files=files,
            changes=Markup(" ").join(_changes(total, files)),
            rest=Markup(" ").join(_rest(total)),
            replaceable=plan.replaceable(),
            replaces=plan.replaces(),
            blocks=list(blocks(plan, _LISTED_NOTICES)),
            title_of=lambda note, count: NOTICES[note].title(count),
            **_listing(plan),
            package_names=names,
            package_count=plan.about["totals"]["packages"],
            archive_gone=archive_gone,
            own=inspected.actor == current.who().actor,
            running=(running := current.running()),
            busy=current.is_busy(running),
            error=error,
            typed=request.form,
            file_lines=file_lines,
        )
    return page, 200 if error is None else 422


def _gone(inspected: Operation) -> ResponseReturnValue:
    """The page for a plan that no longer exists."""
    page = render_template(
        "hexhub_backup/plan_gone.html",
        inspected=inspected,
        backup=_backup_of(inspected),
        done=verbs.restore.carried_out_by(current.backups().catalog, inspected.id),
    )
    return page, 404


def _backup_of(inspected: Operation) -> Backup | None:
    try:
        return None if inspected.backup_id is None else current.backup(inspected.backup_id)
    except NotFoundError:
        return None


def _total(effect: dict[str, dict[str, int]]) -> dict[str, int]:
    """The effect, summed over all kinds."""
    names = next(iter(effect.values()))
    return {name: sum(counts[name] for counts in effect.values()) for name in names}


def _changes(total: Mapping[str, int], files: Mapping[Any, int]) -> Iterator[Markup]:
    """What a restore would change: a sentence for each count that is not zero."""
    return _sentences(
        (
            total["created"],
            marked_plural("{count} record is created.", "{count} records are created."),
        ),
        (
            total["overwritten"],
            marked_plural("{count} record is replaced.", "{count} records are replaced."),
        ),
        (files["place"], marked_plural("{count} file is added.", "{count} files are added.")),
        (
            files["replace"],
            marked_plural("{count} file is replaced.", "{count} files are replaced."),
        ),
    )


def _rest(total: Mapping[str, int]) -> Iterator[Markup]:
    """What it would leave as it is, in the same way."""
    return _sentences(
        (
            total["unchanged"] + total["skipped"],
            marked_plural("{count} record stays as it is.", "{count} records stay as they are."),
        ),
        (
            total["left_out"],
            marked_plural(
                "{count} record can't be written and is left out.",
                "{count} records can't be written and are left out.",
            ),
        ),
        (
            total["not_chosen"],
            marked_plural("{count} record is not chosen.", "{count} records are not chosen."),
        ),
    )


def _sentences(*counts: tuple[int, tuple[str, str]]) -> Iterator[Markup]:
    return (plural(count, *forms) for count, forms in counts if count)


def _listing(plan: Plan) -> dict[str, Any]:
    """The page of records, or of the notices of one code, that the address asks for. Aborts with
    404 where there is none."""
    wanted = {
        "kind": one_of("kind", KIND_OF),
        "state": one_of("state", STATES),
        "text": asked_text(),
        "note": one_of("note", NOTICES),
    }
    chosen = {name: value for name, value in wanted.items() if value}
    listing = {"wanted": wanted, "chosen": chosen, "is_filtered": bool(chosen)}
    if note := wanted["note"]:
        pages = pages_of(plan.note_counts().get(note, 0), marked("notices"), RECORDS_PAGE_SIZE)
        notes = list(plan.notes(note, offset=pages.offset, limit=pages.size))
        return {**listing, "pages": pages, "notes": notes, "groups": []}
    text = wanted["text"]
    counts = {
        (kind, state): plan.count(kind, state, text)
        for state in _STATE_WORDS
        for kind in KINDS
        if wanted["kind"] in ("", kind.name) and wanted["state"] in ("", state)
    }
    pages = pages_of(sum(counts.values()), marked("records"), RECORDS_PAGE_SIZE)
    return {**listing, "pages": pages, "groups": list(_groups(plan, counts, pages, text))}


def _groups(
    plan: Plan, counts: Mapping[tuple[Kind, Any], int], pages: Pages, text: str
) -> Iterator[Group]:
    """The records of a page, of so many in all by kind and state."""
    before, shown = pages.offset, 0
    for (kind, state), count in counts.items():
        if before < count and shown < pages.size:
            # No more than there are: a search that has found all of them ends there.
            limit = min(pages.size - shown, count - before)
            records = plan.search(kind, state, text, offset=before, limit=limit)
            for cause, found in groupby(records, key=attrgetter("cause")):
                entries = [_entry(plan, kind, record) for record in found]
                in_all = len(entries)
                if len(records) < count:
                    in_all = plan.count(kind, state, text, cause=cause) if cause else count
                is_open = shown + len(entries) <= _OPEN or len(entries) == pages.last - pages.offset
                shown += len(entries)
                yield Group(kind, state, cause, in_all, is_open, entries)
        before = max(0, before - count)


def _entry(plan: Plan, kind: Kind, record: PlannedRecord) -> Entry:
    comparison = record.comparison
    files = plan.files_of(comparison.n) if kind is RELEASES else []
    return Entry(kind.label(comparison.key), record, files)


def file_lines(files: list[PlannedFile]) -> Iterator[PlannedFile]:
    """The files of a release that are placed, replaced or differ."""
    return (each for each in files if each.action is not None or each.differs)
