"""The functions and words of the templates: formatting, time elements, names of steps."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

from flask import Blueprint
from flask_wtf.csrf import generate_csrf  # type: ignore[import-untyped]
from markupsafe import Markup

from hexhub_backup import formatting
from hexhub_backup.formatting import (
    UNKNOWN,
    contents,
    duration,
    late,
    number,
    plural,
    relative_time,
    size,
    span,
    time,
    time_left,
    waited,
)
from hexhub_backup.history.store import utc_now
from hexhub_backup.operations.differing import since_text
from hexhub_backup.retention import held_text
from hexhub_backup.verbs import VERBS
from hexhub_backup.web import current

_STEP_WORDS = {name: words for verb in VERBS.values() for name, words in verb.step_words.items()}


def when(moment: datetime | None, *, focus: bool = True) -> str:
    """A time element: relative, and exact on hover and, unless not `focus`, where it has the
    focus: it has none inside a link, and needs none beside the exact time."""
    if moment is None:
        return UNKNOWN
    return _relative(moment, relative_time(moment, utc_now()), focus=focus)


def ago(moment: datetime | None, *, focus: bool = True) -> str:
    """The same, of what has happened: the clock of the machine that says so may be ahead."""
    if moment is None:
        return UNKNOWN
    return _relative(moment, formatting.ago(moment, utc_now()), focus=focus)


def exactly(moment: datetime, *, ahead: bool = False) -> Markup:
    """The same the other way round: to the minute, and relative on hover; `ahead` where it is
    still to come."""
    to_the_minute = f"{moment.astimezone(timezone.utc):%Y-%m-%d %H:%M} UTC"
    relative = relative_time if ahead else formatting.ago
    element = Markup('<time datetime="{}" data-exact="text" title="{}">{}</time>')
    return element.format(moment.isoformat(), relative(moment, utc_now()), to_the_minute)


def _relative(moment: datetime, text: str, *, focus: bool) -> Markup:
    element = Markup('<time datetime="{}" data-exact="title" title="{}"{}>{}</time>')
    reached = Markup(' tabindex="0"') if focus else ""
    return element.format(moment.isoformat(), time(moment), reached, text)


def as_json(document: Any) -> str:
    """JSON for people; the template escapes it."""
    return json.dumps(document, ensure_ascii=False, indent=2)


def step_label(name: str) -> str:
    """A step in words; one that no verb of ours has shows its name."""
    return _STEP_WORDS.get(name, name.replace("_", " ").capitalize())


def verb_label(name: str) -> str:
    """What an operation is called."""
    return VERBS[name].noun if name in VERBS else name.capitalize()


def add_to(blueprint: Blueprint) -> None:
    """Give the templates of the blueprint's pages their words."""
    filters = (
        size,
        number,
        plural,
        contents,
        duration,
        late,
        span,
        time_left,
        waited,
        when,
        ago,
        exactly,
        as_json,
        step_label,
        verb_label,
        held_text,
        since_text,
    )

    @blueprint.context_processor
    def words() -> dict[str, Any]:
        return {
            **{function.__name__: function for function in filters},
            "csrf_token": generate_csrf,
            "depot": current.backups().depot,
            "base_template": current.backups().settings.base_template,
        }
