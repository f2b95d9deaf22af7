"""What the pages say, in the language of the reader.

English is built in. Where the host has Flask-Babel, its locale counts, and texts come from a domain
of our own: the host's directories are asked before ours.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, cast

from flask import current_app, has_app_context
from markupsafe import Markup, escape

from hexhub_backup import formatting
from hexhub_backup.web.said import Message, Messages, Speaker

DOMAIN = "hexhub_backup"
TRANSLATIONS = Path(__file__).parent.parent / "translations"
#: Key in `app.extensions` of the app's languages.
_LANGUAGES = "hexhub_backup_languages"


def gettext(message: str, /, **values: Any) -> Markup:
    """A message, filled in; each value is escaped unless it is markup."""
    form = unfilled(message)
    return filled(_markup(form), **values) if values else _unchanging(form)


def unfilled(message: str) -> str:
    """A message as a script of the page gets it, which fills it in."""
    spoken = _speaker()
    return message if spoken is None else spoken.text(message)


def plural(count: int | None, one: str, many: str, /, **values: Any) -> Markup:
    """The form of a message for a number, filled in; `{count}` is that number."""
    spoken = _speaker()
    english = one if count == 1 else many
    form = english if spoken is None else spoken.plural(count, one, many)
    return filled(_markup(form), **{"count": said(formatting.number(count)), **values})


def filled(template: str, /, *given: object, **values: object) -> Markup:
    """Markup with these values in it, each escaped unless it is markup. `Markup.format` does the
    same, and took a tenth of a page's time."""
    escaped = {name: escape(value) for name, value in values.items()}
    return Markup(template.format(*map(escape, given), **escaped))  # noqa: S704 - it is escaped


@lru_cache(1000)
def _markup(message: str) -> str:
    """Apostrophes stay as they are: no attribute of ours is within them."""
    return str(escape(message)).replace("&#39;", "'")


@lru_cache(1000)
def _unchanging(message: str) -> Markup:
    return filled(_markup(message))


def said(sentence: object) -> str:
    """An English sentence that is filled in already: a message of ours, which may have come from
    the history or from another process."""
    spoken = _speaker()
    return str(sentence) if spoken is None else spoken.said(str(sentence))


def sayer() -> Callable[[str], str]:
    """What says such a sentence in the language of this request's reader, also after the request
    and in any thread."""
    spoken = _speaker()
    return str if spoken is None else spoken.said


def called(label: str, say: Callable[[str], str] | None = None) -> str:
    """What a record is called (`release jason 1.4.0`), with its kind in the reader's language."""
    one, _, key = label.partition(" ")
    return f"{(say or said)(one)} {key}" if key else label


def language() -> str:
    """The language of the texts, as an element's `lang` has it."""
    spoken = _speaker()
    return "en" if spoken is None else spoken.language


def _speaker() -> Speaker | None:
    if not has_app_context() or "babel" not in current_app.extensions:
        return None
    if _LANGUAGES not in current_app.extensions:
        current_app.extensions[_LANGUAGES] = _Languages()
    return cast(_Languages, current_app.extensions[_LANGUAGES]).speaker()


class _Languages:
    """The languages of a host that has Flask-Babel."""

    def __init__(self) -> None:
        from flask_babel import Domain, get_babel

        # What is merged later counts.
        directories = [str(TRANSLATIONS), *get_babel().translation_directories]
        self._domain = Domain(directories, DOMAIN)
        self._speakers: dict[str, Speaker | None] = {}

    def speaker(self) -> Speaker | None:
        """What says our texts in the locale of the request; None where nobody translated them."""
        from flask_babel import get_locale

        name = str(get_locale())
        if name not in self._speakers:
            self._speakers[name] = self._new_speaker()
        return self._speakers[name]

    def _new_speaker(self) -> Speaker | None:
        from babel.numbers import get_decimal_symbol, get_group_symbol
        from flask_babel import get_locale

        catalog, locale = self._domain.get_translations(), get_locale()
        if not catalog.files:
            return None
        return Speaker(
            catalog,
            _messages(),
            language=str(locale).replace("_", "-"),
            point=get_decimal_symbol(locale),
            comma=get_group_symbol(locale),
        )


@cache
def _messages() -> Messages:
    from babel.messages.pofile import read_po

    with (TRANSLATIONS / f"{DOMAIN}.pot").open("rb") as file:
        found = read_po(file)
    return Messages(
        Message(each.id) if isinstance(each.id, str) else Message(*each.id)
        for each in found
        if each.id
    )
