"""Decrypt: open an encrypted copy or file with a key, into a work file.

The key is in the memory of the process that was handed it, and nowhere else: that process runs the
operation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hexhub_backup.archive.source import Reading
from hexhub_backup.depot.base import Depot, NewUpload
from hexhub_backup.depot.names import id_of_copy, new_id
from hexhub_backup.errors import ArchiveError, NotFoundError, WrongKeyError
from hexhub_backup.history.kept import History
from hexhub_backup.history.models import Copy, Operation, Who
from hexhub_backup.marking import marked
from hexhub_backup.operations.choice import Choice
from hexhub_backup.operations.progress import Progress
from hexhub_backup.operations.sidecar import MAX_SIDECAR, Sidecar, sidecar_file
from hexhub_backup.verbs import fetching
from hexhub_backup.verbs.base import Context, Order, Outcome, Verb

_STEP = "decrypt_file"
_CHUNK = 256 * 1024


def order(
    history: History,
    who: Who,
    name: str,
    place: str | None = None,
    choice: Choice | None = None,
) -> Order | None:
    """Open a backup's copy (at a `place`, or the best one where there is no file on this server) or
    the file of a path. What comes of it lies in the file of `options["archive"]`, which belongs to
    whoever asked; it goes after a day. A `choice` is kept for the plan that is made of it. None
    where it is not encrypted. Raises NotFoundError, OSError."""
    chosen = {} if choice is None else {"choice": choice.as_json()}
    if (copy := fetching.copy_to_read(history, name, place)) is not None:
        if not copy.encrypted:
            return None
        return _order(history, who, copy.backup_id, {**chosen, **fetching.options_of(copy)})
    file, backup = history.find(name)
    if not fetching.is_encrypted_file(history.depot, file):
        return None
    return _order(history, who, backup, {**chosen, "file": file})


def opened(depot: Depot, operation: Operation) -> Order:
    """The order of an operation that has opened an archive, for those that use it. Raises
    NotFoundError where it has not, or what it made has gone."""
    is_there = operation.verb == DECRYPT.name and operation.state == "completed"
    if not is_there or not depot.is_there(operation.options["archive"]):
        raise NotFoundError(
            f"Operation {operation.id} has no opened archive any more: open it with the key again."
        )
    return Order(
        id=operation.id,
        verb=operation.verb,
        who=operation.who,
        backup=operation.backup_id,
        options=operation.options,
    )


def choice_of(opened: Order) -> Choice:
    """What was chosen when it was opened."""
    kept = opened.options.get("choice")
    return Choice() if kept is None else Choice.of_json(kept)


def _order(history: History, who: Who, backup: str | None, source: dict[str, Any]) -> Order:
    operation = new_id()
    options = {**source, "archive": history.depot.new_work_file(operation)}
    return Order(id=operation, verb=DECRYPT.name, who=who, backup=backup, options=options)


def _work(context: Context, progress: Progress) -> Outcome:
    try:
        _decrypt(context, progress)
    except BaseException:
        _give_up(context)
        raise
    return {"place": context.operation.options.get("place")}


def _decrypt(context: Context, progress: Progress) -> None:
    options = context.operation.options
    place = options.get("place")
    copy = None
    if place is not None:
        copy = fetching.copy_of(context)
    if context.identity is None:
        raise WrongKeyError("The key is gone, with the process that had it: start again.")
    size = (copy.size_bytes or 0) if copy else context.depot.stat(options["file"]).size
    fetching.refuse_too_large(context.depot, size)
    with context.depot.work_file(options["archive"], size) as file:
        hashed = _Hashed(file)
        try:
            with context.identity.decrypting(hashed) as write:
                _read(context, copy, size, write, progress)
        except WrongKeyError as error:
            raise _wrong_key(options, copy, error) from None
        file.complete()
    if copy and copy.archive_sha256 and copy.archive_sha256 != hashed.digest.hexdigest():
        raise ArchiveError(
            f"The copy {copy.file} in {place} holds another archive than the one that was copied: "
            "use another copy."
        )


def _read(
    context: Context,
    copy: Copy | None,
    size: int,
    write: Callable[[bytes], object],
    progress: Progress,
) -> None:
    if copy is not None:
        fetching.read_copy(context, write, progress)
        return
    progress.expect({_STEP: (size, 0)})
    with progress.step(_STEP), context.depot.source(context.operation.options["file"]) as source:
        file = Reading(source)
        while chunk := file.read(_CHUNK):
            write(chunk)
            progress.advance(len(chunk))


def _wrong_key(options: dict[str, Any], copy: Copy | None, error: WrongKeyError) -> WrongKeyError:
    """Says to whom it is encrypted, where that is known: the file itself names nobody."""
    recipients = _beside(Path(options["file"])) if copy is None else copy.recipients
    hand_in = marked("Hand in the private key of one of its recipients.")
    if recipients:
        known = marked(f"It is encrypted to {', '.join(recipients)}.")
        return WrongKeyError(f"{error} {known} {hand_in}")
    return WrongKeyError(f"{error} {hand_in}")


def _beside(path: Path) -> tuple[str, ...]:
    """The recipients in the sidecar of a file."""
    backup = id_of_copy(path.name)
    try:
        if backup is None:
            return ()
        with path.with_name(sidecar_file(backup)).open("rb") as file:
            sidecar = Sidecar.parse(file.read(MAX_SIDECAR + 1))
    except (OSError, ArchiveError):
        return ()
    return sidecar.recipients if sidecar.file == path.name else ()


class _Hashed:
    """A file that is written, and its hash."""

    def __init__(self, file: NewUpload) -> None:
        self.digest = hashlib.sha256()
        self._file = file

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self._file.write(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""


def _give_up(context: Context) -> None:
    context.depot.remove_upload(context.operation.options["archive"])


def _end(context: Context, ended: Mapping[str, Any]) -> None:
    """What opens is no checked archive yet; what does not is damaged. An encrypted file that was
    uploaded goes: it is of no more use."""
    context.depot.remove_upload(context.operation.options.get("file"))
    if "place" in context.operation.options and ended["state"] != "completed":
        fetching.remember_check(context, ended)


def _steps(operation: Operation) -> tuple[str, ...]:
    return fetching.steps(operation) or (_STEP,)


DECRYPT = Verb(
    name="decrypt",
    noun="Decryption",
    exclusive=False,
    steps=_steps,
    step_words={_STEP: "Open it with the key"},
    work=_work,
    end=_end,
    give_up=_give_up,
    is_news=lambda _: False,
)
