"""The page Retention: what the next prune would delete by the rules that are set, or by others. It
stores nothing: the rules stay in the host's config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flask import Blueprint, abort, render_template, request

from hexhub_backup.destinations.base import HERE
from hexhub_backup.errors import PruneRefusedError, SettingError
from hexhub_backup.history.holding import Holds
from hexhub_backup.history.store import utc_now
from hexhub_backup.marking import marked
from hexhub_backup.operations import prune
from hexhub_backup.retention import RULES, Rules
from hexhub_backup.settings import PREFIX
from hexhub_backup.web import current

#: So many backups are listed, the latest; all are counted.
_SHOWN = 500


def add_to(blueprint: Blueprint) -> None:
    """Add the page to the blueprint."""
    blueprint.add_url_rule("/retention", "retention", retention)


@dataclass(frozen=True)
class Preview:
    """What the next prune would delete of the backups in a `place`, by these `rules`, which are
    those that are set, or only `tried`: `going` of `total`; `refusal` says why it would not."""

    place: str
    rules: Rules
    tried: bool
    total: int
    going: int
    going_bytes: int
    refusal: str | None

    @classmethod
    def of(
        cls, place: str, rules: Rules, held: Holds, *, tried: bool, refusal: str | None
    ) -> Preview:
        """`refusal` says why nothing would be deleted anywhere."""
        try:
            prune.expired(held, rules, utc_now(), place)
        except PruneRefusedError as refused:
            refusal = refusal or str(refused)
        sizes = [each.size_bytes or 0 for each, names in held if not names]
        return cls(place, rules, tried, len(held), len(sizes), sum(sizes), refusal)


def retention() -> str:
    backups, error = current.backups(), None
    set_rules = backups.history.all_rules
    if (place := request.args.get("place", HERE)) not in set_rules:
        abort(404, f"There is no destination {place}.")
    rules = set_rules[place]
    given = {name: request.args[name].strip() for name in RULES if name in request.args}
    if given:
        try:
            rules = _rules(given)
        except ValueError as wrong:
            error = str(wrong)
    # Those of this server are those of each destination that has none of its own.
    alike = [place] if place != HERE else [HERE, *filter(_has_none, backups.destinations)]
    shown = {**set_rules, **dict.fromkeys(alike, rules)}
    held = backups.history.held(shown)
    found = {each.id: each.backup for holds in held.values() for each, _ in holds}
    listed = sorted(found.values(), key=lambda each: (each.created_at, each.id), reverse=True)
    effects: dict[str, list[tuple[str, tuple[str, ...]]]] = {name: [] for name in found}
    for name, holds in held.items():
        for each, names in holds:
            effects[each.id].append((name, names))
    if (trouble := backups.depot.trouble()) is not None:
        trouble = f"{trouble} {backups.depot.advice}"
    previews = {
        name: Preview.of(name, of, held[name], tried=of != set_rules[name], refusal=trouble)
        for name, of in shown.items()
    }
    numbers = rules.as_dict()
    line = f"{PREFIX}RETENTION = {numbers}" if place == HERE else f"retention={numbers}"
    return render_template(
        "hexhub_backup/retention.html",
        place=place,
        here=HERE,
        previews=previews,
        rules=rules,
        is_set=numbers == set_rules[place].as_dict(),
        line=line.replace("'", '"'),
        values={name: given.get(name, str(numbers.get(name, 0))) for name in RULES},
        listed=listed[:_SHOWN],
        effects=effects,
        total=len(listed),
        error=error,
    )


def _has_none(name: str) -> bool:
    return getattr(current.backups().destinations[name], "retention", None) is None


def _rules(given: Mapping[str, str]) -> Rules:
    """The rules of the form. Raises ValueError, with what is wrong for whoever filled it in."""
    # A field that is left empty is no rule.
    if not all(value.isascii() and value.isdigit() for value in given.values() if value):
        raise ValueError(marked("Each rule is a whole number. The rules that are set are shown."))
    numbers = {name: int(value[:9]) for name, value in given.items() if value}
    if not any(numbers.values()):
        raise ValueError(
            marked(
                "By no rule no backup would stay: give one a number. The rules that are set are "
                "shown."
            )
        )
    try:
        return Rules.of(numbers, current.backups().settings.zone, named="The form")
    except SettingError:
        raise ValueError(
            marked("A rule has a number up to 100,000. The rules that are set are shown.")
        ) from None
