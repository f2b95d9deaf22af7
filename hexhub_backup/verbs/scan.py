"""Scan: find the backups that lie at the destinations, and adopt those that nobody knows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from hexhub_backup.archive.times import parse_time
from hexhub_backup.depot.names import id_of_copy
from hexhub_backup.destinations.base import Destination, find
from hexhub_backup.errors import BackupError, DatabaseError, DestinationError
from hexhub_backup.history.instance import UNKNOWN, instance_id
from hexhub_backup.history.models import COPIED, MISSING, Backup, Copy, Who
from hexhub_backup.history.store import utc_now
from hexhub_backup.marking import marked
from hexhub_backup.notices import notice
from hexhub_backup.operations import scan
from hexhub_backup.operations.progress import Progress
from hexhub_backup.operations.sidecar import NOBODY
from hexhub_backup.verbs.base import Context, Order, Outcome, Verb

_STEP = "scan_destinations"


def order(who: Who, places: Sequence[str]) -> Order:
    """Look through these destinations. Reads what lies beside copies, and no copy."""
    return Order(verb=SCAN.name, who=who, options={"places": [*places]})


def _work(context: Context, progress: Progress) -> Outcome:
    adopted: list[str] = []
    counts: dict[str, dict[str, int]] = {}
    failure: BackupError | None = None
    with progress.step(_STEP):
        for place in context.operation.options["places"]:
            try:
                destination = find(context.destinations, place)
                counts[place] = _scan(context, destination, adopted, progress)
            except (BackupError, OSError) as error:
                progress.check()
                failure = error if isinstance(error, BackupError) else DestinationError(str(error))
                progress.warn(notice("not_scanned", place, "found", reason=str(error)))
    if failure is not None and not counts:
        raise failure
    foreign = [each for each in adopted if context.catalog.backup(each).foreign]
    return {"adopted": adopted, "foreign": foreign, "places": counts}


def _scan(
    context: Context, destination: Destination, adopted: list[str], progress: Progress
) -> dict[str, int]:
    """Gives how many copies there are, and how many are new or missing."""
    catalog, place = context.catalog, destination.name
    own = instance_id(catalog.engine)
    known = {
        backup: copy
        for backup, copies in catalog.copies.since(None).items()
        for copy in copies
        if copy.place == place
    }
    present: dict[str, scan.Found] = {}
    new, refused = 0, list[DatabaseError]()
    for found in scan.scan(destination, id_of_copy, known.__contains__):
        progress.check()
        present[found.backup] = found
        if found.problem is not None:
            reason = found.problem
            progress.warn(notice("not_scanned", f"backup {found.backup}", "found", reason=reason))
        if found.backup in known:
            _see_again(context, known[found.backup], found)
            continue
        try:
            if catalog.has_backup(found.backup):
                catalog.copies.add(_copy(found, place))
            else:
                catalog.add_backup(_described(found, own), _copy(found, place))
                adopted.append(found.backup)
                progress.log(f"Backup {found.backup} is adopted from {place}.")
        except DatabaseError as error:
            # What one copy says of itself must not keep the others from being found.
            reason = str(error)
            progress.warn(notice("not_scanned", f"backup {found.backup}", "found", reason=reason))
            refused.append(error)
        else:
            new += 1
    if refused and len(refused) == len(present):
        # Then it is the database that can't be written to.
        raise refused[0]
    missing = [
        backup for backup, copy in known.items() if copy.state == COPIED and backup not in present
    ]
    for backup in missing:
        reason = marked(f"{known[backup].file} is not in {destination.location} any more.")
        made_by = known[backup].operation_id
        catalog.copies.update(
            backup, place, states=(COPIED,), operation=made_by, state=MISSING, reason=reason
        )
        progress.log(f"Backup {backup}: {reason}")
    return {"copies": len(present), "new": new, "missing": len(missing)}


def _see_again(context: Context, copy: Copy, found: scan.Found) -> None:
    """A copy that was missing is there again, and is to be checked again."""
    if copy.state == MISSING and found.size == copy.size_bytes:
        context.catalog.copies.update(
            copy.backup_id,
            copy.place,
            states=(MISSING,),
            state=COPIED,
            reason=None,
            verified_at=None,
            intact=None,
        )


def _described(found: scan.Found, own: str) -> Backup:
    """A row from what lies beside a copy, or at its end. `own` stands for this registry."""
    sidecar, manifest, now = found.sidecar, found.manifest, utc_now()
    origin = (sidecar and sidecar.instance) or UNKNOWN
    made = sidecar.created_at if sidecar else (manifest or {}).get("created_at")
    missing = sidecar.missing_files if sidecar else len((manifest or {}).get("missing_files", ()))
    return Backup(
        id=found.backup,
        state="completed",
        created_at=_time(made, now),
        created_by=(manifest or {}).get("created_by") or NOBODY,
        size_bytes=sidecar.archive_size if sidecar else found.size,
        manifest=manifest,
        warning_count=missing,
        adopted_at=now,
        origin=None if origin == own else origin,
    )


def _time(text: str | None, now: datetime) -> datetime:
    """A time that an archive tells of itself; none is to come."""
    try:
        return now if text is None else min(parse_time(text), now)
    except (ValueError, OverflowError):
        return now


def _copy(found: scan.Found, place: str) -> Copy:
    known: dict[str, Any] = {}
    if (sidecar := found.sidecar) is not None:
        known = {
            "sha256": sidecar.stored_sha256,
            "archive_sha256": sidecar.archive_sha256,
            "recipients": sidecar.recipients,
        }
    return Copy(
        backup_id=found.backup,
        place=place,
        state=COPIED,
        ordered_at=utc_now(),
        file=found.file,
        size_bytes=found.size,
        **known,
    )


SCAN = Verb(
    name="scan",
    noun="Scan of destinations",
    # It waits for other servers: what happens here meanwhile is not held up.
    exclusive=False,
    alone=True,
    steps=lambda _: (_STEP,),
    step_words={_STEP: "Look through the destinations"},
    work=_work,
)
