"""Whether the pages can say an English sentence in another language: whether it is of a message."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType

import pytest
from babel.messages.pofile import read_po

import hexhub_backup
from hexhub_backup.errors import BackupError, Fault, MappingError, SettingError, as_it_was
from hexhub_backup.web.said import Message, Messages

ROOT = Path(hexhub_backup.__file__).parent
TEMPLATE = ROOT / "translations" / "hexhub_backup.pot"

_SENTENCE_END = re.compile(r"(?<=[.!?]) (?=[A-Z])")
_PLACEHOLDER = re.compile(r"\{\w+\}")


class Unmarked:
    """The sentences that no message becomes, of those that are looked at."""

    def __init__(self, template: Path = TEMPLATE) -> None:
        with template.open("rb") as file:
            found = [each.id for each in read_po(file) if each.id]
        forms = [each if isinstance(each, tuple) else (str(each),) for each in found]
        self._whole = {form for each in forms for form in each}
        self._messages = Messages(Message(*each) for each in forms)

    def of(self, sentence: str) -> list[str]:
        """What of a sentence, or of several, is none of a message: values are anything."""
        if self._is_said(sentence):
            return []
        pieces = _SENTENCE_END.split(sentence)
        if len(pieces) > 1:
            return [unsaid for piece in pieces for unsaid in self.of(piece)]
        return [sentence]

    def _is_said(self, sentence: str) -> bool:
        if sentence in self._whole or any(self._has_words(sentence)):
            return True
        # A reason, of which a sentence is made.
        return sentence.endswith(".") and self._is_said(sentence[:-1])

    def _has_words(self, sentence: str) -> Iterator[bool]:
        for _, form, values in self._messages.find(sentence):
            if re.search(r"[a-z]", _PLACEHOLDER.sub("", form)):
                yield True
            # What is all placeholders, as `{where}: {message}`, says nothing itself.
            yield any(self._is_said(value) for value in values.values())


@cache
def unmarked() -> Unmarked:
    """That of our template, read once."""
    return Unmarked()


#: Whoever writes the code of a host reads these, in a terminal.
_FOR_DEVELOPERS = (MappingError, SettingError)
_TESTS = str(Path(__file__).parent.parent)


class Errors:
    """What our errors say, while they are watched, but for those that tests make."""

    def __init__(self) -> None:
        self._said: set[str] = set()
        self._known: dict[str, list[str]] = {}

    @contextmanager
    def watched(self) -> Iterator[None]:
        made = BackupError.__init__

        def noted(error: BackupError, message: str, faults: Sequence[Fault] = ()) -> None:
            made(error, message, faults)
            if not isinstance(error, _FOR_DEVELOPERS) and not _is_of_a_test(error):
                self._said |= {message, *(fault.message for fault in faults)}

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(BackupError, "__init__", noted)
            yield

    def unmarked(self) -> list[str]:
        """What no message becomes, of all that was said since this was asked for the last time."""
        said, self._said = self._said, set()
        for sentence in said - self._known.keys():
            self._known[sentence] = unmarked().of(sentence)
        return sorted({each for sentence in said for each in self._known[sentence]})


def _is_of_a_test(error: BackupError) -> bool:
    """Whether a test makes it, or made what it repeats."""
    frame: FrameType | None = sys._getframe(2)
    # Some have an `__init__` of their own.
    while frame is not None and frame.f_locals.get("self") is error:
        frame = frame.f_back
    code = frame and frame.f_code
    return code is None or code is as_it_was.__code__ or code.co_filename.startswith(_TESTS)
