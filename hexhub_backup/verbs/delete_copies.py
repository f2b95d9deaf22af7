"""Delete copies: those that are to go, where nothing holds them any more."""

from __future__ import annotations

from collections.abc import Iterator

from hexhub_backup.destinations.base import Destination, find
from hexhub_backup.errors import AwayError, BackupError, LockedError
from hexhub_backup.history.expiring import held_again
from hexhub_backup.history.models import COPIED, DELETING, Copy, Who
from hexhub_backup.operations.progress import Progress
from hexhub_backup.operations.sidecar import files_of
from hexhub_backup.verbs.base import Context, Order, Outcome, Verb

_STEP = "delete_copies"


def order(who: Who) -> Order:
    """Delete all copies that are to go. One that is locked stays until its day."""
    return Order(verb=DELETE_COPIES.name, who=who)


def delete_copies(context: Context, progress: Progress) -> dict[str, list[str]]:
    """Delete the copies that are to go, and the rows of backups of which nothing is left. Returns
    the places that were left by each backup. What can't be deleted now stays to go, with its
    reason; what has expired, and is held again meanwhile, is a copy again."""
    gone: dict[str, list[str]] = {}
    reasons: dict[str, str] = {}
    going: dict[str, list[Copy]] = {}
    # One at a time: of two, one would delete what the other has let stay, or what was made anew.
    with context.coordinator.waited_for(DELETE_COPIES.name, progress.check):
        for copy in context.catalog.copies.to_delete():
            going.setdefault(copy.place, []).append(copy)
        try:
            for place, copies in going.items():
                for copy in _deleted(context, place, copies, progress):
                    gone.setdefault(copy.backup_id, []).append(place)
                    reasons[copy.backup_id] = copy.delete_reason or "manual"
        finally:
            for backup, places in gone.items():
                context.history.tell_deleted(
                    context.app, context.operation.who, backup, places, reason=reasons[backup]
                )
    return gone


def _deleted(context: Context, place: str, going: list[Copy], progress: Progress) -> Iterator[Copy]:
    """Delete copies in a place; gives each that is gone."""
    try:
        destination = find(context.destinations, place)
        whole = _whole(destination, going)
        held = held_again(context.history, place, whole)
    except (BackupError, OSError) as error:
        for copy in going:
            _put_off(context, copy, error, progress)
        return
    for copy in going:
        progress.check()
        # The others may have taken minutes: somebody may keep it by now, or copy it anew.
        if not _is_to_go(context, copy):
            continue
        kept = copy in whole and context.catalog.backup(copy.backup_id).kept
        if kept or copy.backup_id in held:
            _take_back(context, copy, progress)
            continue
        try:
            for file in files_of(copy.backup_id):
                destination.delete(file)
        except (BackupError, OSError) as error:
            _put_off(context, copy, error, progress)
            if isinstance(error, AwayError):
                # One that does not answer is waited for once: others wait for this operation.
                return
            continue
        last = context.history.is_last(copy)
        if context.catalog.copies.remove_deleted(copy, last=last):
            forgotten = context.history.forget(copy.backup_id, copy.delete_reason or "manual")
            if last and not forgotten:
                context.catalog.update_backup(copy.backup_id, deleting=None)
            yield copy


def _is_to_go(context: Context, copy: Copy) -> bool:
    """Whether a copy is still to go, and is not another one by now."""
    return any(
        (each.place, each.operation_id) == (copy.place, copy.operation_id)
        for each in context.catalog.copies.going(copy.backup_id)
    )


def _whole(destination: Destination, going: list[Copy]) -> list[Copy]:
    """The copies that have expired, and were good, of which nothing has been deleted yet: the
    archive is the first that goes. The destination is asked once, and only if there are some."""
    expired = [each for each in going if each.delete_reason == "expired" and each.file]
    if not expired:
        return []
    sizes = {each.name: each.size for each in destination.list()}
    return [each for each in expired if sizes.get(str(each.file)) == each.size_bytes]


def _take_back(context: Context, copy: Copy, progress: Progress) -> None:
    """Let a copy stay that was to go. The clock reads it again."""
    taken = context.catalog.copies.update(
        copy.backup_id,
        copy.place,
        states=(DELETING,),
        state=COPIED,
        delete_reason=None,
        reason=None,
        verified_at=None,
        intact=False if copy.intact is False else None,
    )
    if taken:
        progress.log(f"The copy of {copy.backup_id} in {copy.place} stays: the rules hold it now.")


def _put_off(context: Context, copy: Copy, error: Exception, progress: Progress) -> None:
    """Remember why a copy has to stay for now."""
    until = error.until if isinstance(error, LockedError) else copy.locked_until
    context.catalog.copies.update(
        copy.backup_id,
        copy.place,
        states=(DELETING,),
        reason=str(error),
        locked_until=until,
    )
    progress.log(f"The copy of {copy.backup_id} in {copy.place} stays for now: {error}")


def _work(context: Context, progress: Progress) -> Outcome:
    with progress.step(_STEP):
        return {"copies": delete_copies(context, progress)}


DELETE_COPIES = Verb(
    name="delete_copies",
    noun="Deletion of copies",
    exclusive=False,
    steps=lambda _: (_STEP,),
    step_words={_STEP: "Delete copies elsewhere"},
    work=_work,
    is_news=lambda _: False,
)
