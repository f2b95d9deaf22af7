"""Check: whether copies can be made at a destination, by a small file that is written, listed, read
back and deleted there."""

from __future__ import annotations

import io
import secrets
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import Any

from hexhub_backup.destinations.base import Destination, read_up_to
from hexhub_backup.errors import BackupError, DestinationError, LockedError
from hexhub_backup.marking import marked

#: What is done, in this order: it could not …
STEPS = {
    "answer": marked("reach it"),
    "write": marked("write a file"),
    "list": marked("list files"),
    "read": marked("read a file back"),
    "delete": marked("delete a file"),
}
#: Seconds. Who asks on a page waits for it.
_PATIENCE = 20.0
_NAME = "hexhub-backup-check-"
#: What an earlier check left is not that of one that runs.
_OLD = timedelta(hours=1)


@dataclass(frozen=True)
class Step:
    """One of `STEPS`, and how it went: `text` says what was found, or why it failed and what to
    do."""

    name: str
    ok: bool
    text: str


@dataclass
class Checked:
    """What a check of the destination `name` has found, up to the first step that failed. `free` is
    in bytes, None where nothing limits it or it is not known; `notes` are the destination's."""

    name: str
    steps: list[Step] = field(default_factory=list)
    free: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether copies can be made there."""
        return len(self.steps) == len(STEPS) and all(step.ok for step in self.steps)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "ok": self.ok}


def check(destination: Destination, patience: float = _PATIENCE) -> Checked:
    """Try a destination, for so many seconds at most. A file that is locked stays until a check
    after its day."""
    found = _Check(destination)
    thread = threading.Thread(target=found.run, name="hexhub_backup_check", daemon=True)
    thread.start()
    thread.join(patience)
    return found.so_far(patience)


class _Check:
    """A check that runs: what it has found so far is there at any time."""

    def __init__(self, destination: Destination) -> None:
        self._destination = destination
        self._found = Checked(destination.name)
        now = datetime.now(timezone.utc)
        self._file = f"{_NAME}{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
        self._oldest = f"{_NAME}{now - _OLD:%Y%m%d-%H%M%S}"
        self._content = f"A check of {now:%Y-%m-%d %H:%M} UTC wrote this: it may go.\n".encode()
        self._listed: list[str] = []

    def so_far(self, patience: float) -> Checked:
        """What was found. Where it has not ended, the step that it waits in has failed after so
        many seconds."""
        found = replace(self._found, steps=[*self._found.steps])
        names, done = [*STEPS], len(found.steps)
        if done < len(names) and all(step.ok for step in found.steps):
            text = marked(
                f"There was no answer within {patience:.0f} seconds: look at its server or disk."
            )
            found.steps.append(Step(names[done], ok=False, text=text))
        return found

    def run(self) -> None:
        steps = self._found.steps
        for name in STEPS:
            try:
                steps.append(Step(name, ok=True, text=getattr(self, f"_{name}")()))
            except Exception as error:
                text = str(error)
                if not isinstance(error, (BackupError, OSError)):
                    text = marked(f"It raised a {type(error).__name__}, as no destination should.")
                steps.append(Step(name, ok=False, text=text))
                break
        if len(steps) == 1:
            # It does not answer.
            return
        # What was written may be there, and what an earlier check could not delete.
        for each in (self._file, *self._listed):
            if each == self._file or (each.startswith(_NAME) and each < self._oldest):
                with suppress(Exception):
                    self._destination.delete(each)

    def _answer(self) -> str:
        about = self._destination.about()
        self._found.free, self._found.notes = about.free, about.notes
        return marked("It answers.")

    def _write(self) -> str:
        self._destination.put(self._file, io.BytesIO(self._content), len(self._content))
        self._destination.lock(self._file)
        return marked(f"{self._file} was written.")

    def _list(self) -> str:
        self._listed = [each.name for each in self._destination.list()]
        if self._file not in self._listed:
            raise DestinationError(
                f"{self._file} is not listed, though it was written: a scan would find no copies."
            )
        return marked("It is listed.")

    def _read(self) -> str:
        with self._destination.open(self._file) as file:
            found = read_up_to(file, len(self._content) + 1)
        if found != self._content:
            raise DestinationError(
                f"{self._file} was read back, and is not what was written: no copy would be good."
            )
        return marked("It was read back as it was written.")

    def _delete(self) -> str:
        try:
            self._destination.delete(self._file)
        except LockedError as error:
            # As it was set up: no fault.
            until = f"{error.until:%Y-%m-%d %H:%M} UTC"
            return marked(
                f"It is locked until {until}, as copies are. A check after that day deletes it."
            )
        return marked("It was deleted.")
