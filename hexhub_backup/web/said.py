"""Finds the message that an English sentence was made of, and says it in another language.

What is kept, logged or given to a program is English, whoever reads it. So a page gets many of its
texts as sentences that are filled in already: from the history, say, or from another process.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

#: A number as `formatting` has it: with a comma in the thousands, or of a unit.
_NUMBER = re.compile(r"\d{1,3}(?:,\d{3})+|(?:< )?\d+\.\d+ (?:[kMGTP]?B|s)")
_SENTENCE_END = re.compile(r"(?<=[.!?]) (?=[A-Z])")
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
#: What some placeholders stand for, so that a short message is not found in all that begins as it.
_VALUES = {"count": r"([+-]?[\d,]+|–)", "id": r"(\S+)", "destination": r"(\S+)"}
#: Of what else is filled in, a single word is a name, even if a message of ours is that word.
_WORDS = re.compile(
    r"(?:state|kind|verb|only|one|whose|what|where|type|file_type|fields|rules|why|reason)\d*"
)
#: What stands for several names, with "and" between them.
_NAMES = re.compile(r"(?:places|names|backups|others)\d*")
#: So many characters of a sentence tell the messages that it can be of.
_BEGINNING = 3


class Catalog(Protocol):
    """The translations of one language, as the gettext of the standard library has them."""

    def gettext(self, message: str, /) -> str: ...

    def ngettext(self, msgid1: str, msgid2: str, n: int, /) -> str: ...


@dataclass(frozen=True)
class Message:
    """A message, of one form or of two."""

    one: str
    many: str | None = None


class _Form:
    """One form of a message: `pattern` matches all that it becomes when it is filled in."""

    def __init__(self, message: Message, text: str) -> None:
        self.message, self.text = message, text
        self.names: list[str] = _PLACEHOLDER.findall(text)
        pieces = _PLACEHOLDER.split(text)
        literal, names = pieces[::2], pieces[1::2]
        values = [_VALUES.get(name, "(.+?)") for name in names]
        parts = [re.escape(literal[0])]
        for value, after in zip(values, literal[1:], strict=True):
            parts += [value, re.escape(after)]
        self.pattern = re.compile("".join(parts), re.DOTALL)
        self.beginning = literal[0]
        self.weight = len("".join(literal))


class Messages:
    """All messages of ours, found by what they become. Made once, for all languages."""

    def __init__(self, messages: Iterable[Message]) -> None:
        forms = [
            _Form(message, text)
            for message in messages
            for text in (message.one, message.many)
            if text is not None and _PLACEHOLDER.search(text)
        ]
        # Of two that match, the one that says more itself is meant.
        forms.sort(key=lambda form: -form.weight)
        self._forms = forms
        self._beginning = lru_cache(maxsize=None)(self._beginning_with)

    def _beginning_with(self, first: str) -> list[_Form]:
        return [
            form
            for form in self._forms
            if form.beginning.startswith(first) or first.startswith(form.beginning)
        ]

    def find(self, sentence: str) -> Iterable[tuple[Message, str, dict[str, str]]]:
        """The messages that a sentence can have been made of, the likeliest first, with the form
        and the values that were filled in."""
        for form in self._beginning(sentence[:_BEGINNING]):
            if (match := form.pattern.fullmatch(sentence)) is not None:
                yield form.message, form.text, dict(zip(form.names, match.groups(), strict=True))


class Speaker:
    """Says what is English in one language, whose numbers have such a `point` and `comma`."""

    def __init__(
        self, catalog: Catalog, messages: Messages, *, language: str, point: str, comma: str
    ) -> None:
        self._catalog, self._messages = catalog, messages
        #: The tag of the language.
        self.language = language
        self._separators = str.maketrans({".": point, ",": comma})
        #: An English sentence in this language, or as it is where no message of ours becomes it.
        self.said: Callable[[str], str] = lru_cache(maxsize=4096)(self._said)

    def text(self, message: str) -> str:
        """A message that is not filled in."""
        # The empty one is the head of a catalog.
        return self._catalog.gettext(message) if message else message

    def plural(self, count: int | None, one: str, many: str) -> str:
        """The form of a message for a number, not filled in; an unknown one is many."""
        return self._catalog.ngettext(one, many, 2 if count is None else count)

    def _said(self, english: str) -> str:
        return next((said for said in self._attempts(english) if said != english), english)

    def _attempts(self, english: str) -> Iterator[str]:
        """What it may be in this language, the likeliest first; as it is where that is not so."""
        if _NUMBER.fullmatch(english):
            yield english.translate(self._separators)
        yield self.text(english)
        alike: list[tuple[str, dict[str, str]]] = []
        across: list[tuple[str, dict[str, str]]] = []
        for message, form, values in self._messages.find(english):
            said = self._form(message, form, values)
            if said == form:
                alike.append((form, values))
            elif any(map(_SENTENCE_END.search, values.values())):
                across.append((said, values))
            else:
                yield self._filled(said, values)
        yield self._pieces(english, " ", _SENTENCE_END.split(english))
        # Rather two sentences than one in which the next is a value.
        for said, values in across:
            yield self._filled(said, values)
        if english.endswith("."):
            # A reason, of which another sentence is made.
            yield f"{self.said(english[:-1])}."
        lists = [(between, english.split(between)) for between in (", ", "; ")]
        for between, pieces in lists:
            if len(pieces) > 1 and all(self.said(piece) != piece for piece in pieces):
                yield self._pieces(english, between, pieces)
        # What hardly has words of its own is the same in each language, but for its values.
        for form, values in alike:
            yield self._filled(form, values)
        for between, pieces in lists:
            yield self._pieces(english, between, pieces)

    def _filled(self, form: str, values: dict[str, str]) -> str:
        # Braces may also be of the text itself.
        return _PLACEHOLDER.sub(
            lambda found: self._value(found[1], values.get(found[1], found[0])), form
        )

    def _value(self, name: str, value: str) -> str:
        is_ours = " " in value or _WORDS.fullmatch(name) or _NUMBER.fullmatch(value)
        said = self.said(value) if is_ours else value
        if said == value and _NAMES.fullmatch(name):
            said = value.replace(" and ", f" {self.text('and')} ")
        return said

    def _form(self, message: Message, form: str, values: dict[str, str]) -> str:
        if message.many is None:
            return self.text(form)
        if form == message.one != message.many:
            return self.plural(1, message.one, message.many)
        digits = values.get("count", "").replace(",", "")
        return self.plural(int(digits) if digits.isdigit() else None, message.one, message.many)

    def _pieces(self, english: str, between: str, pieces: list[str]) -> str:
        """Several sentences, or a list: names in it stay as they are."""
        return english if len(pieces) < 2 else between.join(map(self.said, pieces))
