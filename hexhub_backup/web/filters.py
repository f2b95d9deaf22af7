"""The functions and words of the templates: formatting, time elements, names of steps."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from flask import Blueprint
from flask_wtf.csrf import generate_csrf  # type: ignore[import-untyped]
from markupsafe import Markup, escape

from hexhub_backup import formatting
from hexhub_backup.archive.records import Kind
from hexhub_backup.formatting import UNKNOWN, relative_time, time
from hexhub_backup.history.store import utc_now
from hexhub_backup.marking import marked
from hexhub_backup.operations.differing import since_text
from hexhub_backup.retention import held_text
from hexhub_backup.verbs import VERBS
from hexhub_backup.web import current
from hexhub_backup.web.texts import called, gettext, language, plural, said, unfilled

#: What programs read and pages say as well, by `said`.
_STATES_OF_COPIES = (
    marked("waiting"),
    marked("copying"),
    marked("failed"),
    marked("missing"),
    marked("deleting"),
    marked("damaged"),
)
_STATES_OF_STEPS = (marked("waiting"), marked("running"), marked("done"), marked("stopped"))

_STEP_WORDS = {name: words for verb in VERBS.values() for name, words in verb.step_words.items()}


def when(moment: datetime | None, *, focus: bool = True) -> str:
    """A time element: relative, and exact on hover and, unless not `focus`, where it has the
    focus: it has none inside a link, and needs none beside the exact time."""
    if moment is None:
        return UNKNOWN
    return _relative(moment, said(relative_time(moment, utc_now())), focus=focus)


def ago(moment: datetime | None, *, focus: bool = True) -> str:
    """The same, of what has happened: the clock of the machine that says so may be ahead."""
    if moment is None:
        return UNKNOWN
    return _relative(moment, said(formatting.ago(moment, utc_now())), focus=focus)


def exactly(moment: datetime, *, ahead: bool = False) -> Markup:
    """The same the other way round: to the minute, and relative on hover; `ahead` where it is
    still to come."""
    to_the_minute = f"{moment.astimezone(timezone.utc):%Y-%m-%d %H:%M} UTC"
    relative = relative_time if ahead else formatting.ago
    return _element(moment, "text", said(relative(moment, utc_now())), "", to_the_minute)


def _relative(moment: datetime, text: str, *, focus: bool) -> Markup:
    return _element(moment, "title", time(moment), ' tabindex="0"' if focus else "", text)


def _element(moment: datetime, exact: str, title: str, reached: str, text: str) -> Markup:
    """A time element, whose `exact` time is its title or its text."""
    # Not `filled`: a list has many of these.
    return Markup(  # noqa: S704 - it is escaped
        f'<time datetime="{moment.isoformat()}" data-exact="{exact}" title="{escape(title)}"'
        f"{reached}>{escape(text)}</time>"
    )


def as_json(document: Any) -> str:
    """JSON for people; the template escapes it."""
    return json.dumps(document, ensure_ascii=False, indent=2)


def step_label(name: str) -> str:
    """A step in words; one that no verb of ours has shows its name."""
    return said(_STEP_WORDS.get(name, name.replace("_", " ").capitalize()))


def verb_label(name: str) -> str:
    """What an operation is called."""
    return said(VERBS[name].noun if name in VERBS else name.capitalize())


def counted(count: int, kind: Kind) -> str:
    """Records of a kind: `3 releases`."""
    return said(formatting.plural(count, f"{{count}} {kind.one}", f"{{count}} {kind.name}"))


def add_to(blueprint: Blueprint) -> None:
    """Give the templates of the blueprint's pages their words."""
    english = (
        formatting.size,
        formatting.number,
        formatting.contents,
        formatting.duration,
        formatting.late,
        formatting.span,
        formatting.time_left,
        formatting.waited,
        held_text,
        since_text,
    )
    words = {function.__name__: _in_the_language(function) for function in english}
    words |= {
        function.__name__: function
        for function in (
            plural,
            said,
            called,
            unfilled,
            language,
            when,
            ago,
            exactly,
            as_json,
            step_label,
            verb_label,
            counted,
        )
    }
    words["_"] = gettext

    @blueprint.context_processor
    def given() -> dict[str, Any]:
        return {
            **words,
            "csrf_token": generate_csrf,
            "depot": current.backups().depot,
            "base_template": current.backups().settings.base_template,
        }


def _in_the_language(function: Callable[..., str]) -> Callable[..., str]:
    """The same text in the language of the reader."""
    return lambda *given: said(function(*given))
