"""The rows of our tables, and what the history adds to them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from hexhub_backup.operations.sidecar import ENCRYPTED

QUEUED, RUNNING = "queued", "running"
#: The states of a copy. `waiting` for its next attempt, `failed` when there is none; `missing`
#: where the destination has lost it; `deleting` where it is to go, and may be locked.
WAITING, COPYING, COPIED = "waiting", "copying", "copied"
FAILED, MISSING, DELETING = "failed", "missing", "deleting"


@dataclass(frozen=True, kw_only=True)
class Who:
    """Who wants something, and from where: `address` is None on the command line."""

    actor: str
    address: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Operation:
    """An order, and what became of it. `state` is `queued`, `running`, `completed`, `failed`,
    `cancelled` or `interrupted`; `bound` says that only the process that took it will run it."""

    id: str
    verb: str
    state: str
    reason: str | None = None
    code: str | None = None
    actor: str
    address: str | None = None
    backup_id: str | None = None
    follows_id: str | None = None
    options: dict[str, Any]
    queued_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    duration_seconds: float | None = None
    decided_at: datetime | None = None
    bound: bool = True

    @property
    def ended(self) -> bool:
        """Whether its state is a final one."""
        return self.state not in (QUEUED, RUNNING)

    @property
    def late_by(self) -> timedelta | None:
        """By how much it was ordered later than it was due; None where the clock did not order it,
        or in time."""
        due_at = self.options.get("due_at")
        if due_at is None:
            return None
        late = self.queued_at - datetime.fromisoformat(due_at)
        return late if late >= timedelta(minutes=1) else None

    @property
    def who(self) -> Who:
        return Who(actor=self.actor, address=self.address)

    @property
    def about(self) -> dict[str, Any]:
        """What the signals and the first event say of it."""
        return {
            "operation": self.id,
            "verb": self.verb,
            "actor": self.actor,
            "address": self.address,
            "backup": self.backup_id,
        }


@dataclass(frozen=True, kw_only=True)
class Operation(_Operation):
    """An operation with its `outcome`: what the verb returned."""

    outcome: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class ListedOperation(_Operation):
    """An operation in a list: of its outcome the number of warnings, and of a prune's the ids of
    the backups that it deleted, and of those whose copies it deleted the places. None where the
    outcome has none."""

    warning_count: int | None
    deleted: list[str] | None
    deleted_copies: dict[str, list[str]] | None


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A backup's copy at a destination: what there is of it, or is to be. `sha256` and `size_bytes`
    are those of the stored bytes, `archive_sha256` is the archive's. A copy that was found by a
    scan has no `copied_at`, and its hashes are what lay beside it. `recipients` are the keys that
    it is encrypted to. `held` and `expires_at` are added by the History, as those of a backup."""

    backup_id: str
    place: str
    state: str
    reason: str | None = None
    operation_id: str | None = None
    ordered_at: datetime
    due_at: datetime | None = None
    attempts: int = 0
    file: str | None = None
    size_bytes: int | None = None
    sha256: str | None = None
    archive_sha256: str | None = None
    recipients: tuple[str, ...] = ()
    copied_at: datetime | None = None
    locked_until: datetime | None = None
    verified_at: datetime | None = None
    intact: bool | None = None
    delete_reason: str | None = None
    held: tuple[str, ...] = ()
    expires_at: datetime | None = None

    @property
    def untouched(self) -> bool:
        """Whether nothing of it can be at its place: no attempt has begun, and none was found."""
        return self.operation_id is None and self.file is None

    @property
    def encrypted(self) -> bool:
        """Whether it takes a key to read the archive."""
        return (self.file or "").endswith(ENCRYPTED)

    @property
    def good(self) -> bool:
        """Whether a registry could be restored from it, as far as is known."""
        return self.state == COPIED and self.intact is not False

    @property
    def damaged(self) -> bool:
        """Whether it was read, and is not what it was."""
        return self.state == COPIED and self.intact is False


@dataclass(frozen=True, kw_only=True)
class _Backup:
    """An archive that is kept. `intact` is what the last check of the one on this server found,
    None where it was never checked. `origin` stands for the registry that made it, None where that
    is this one, or an admin has said so. `restorable` says whether the last rehearsal, here or of a
    copy, brought back all of it, None where there was none. `deleting` says that its file is being
    deleted, or was by a process that died before the row was.

    What the row does not have, and the History adds: `file_missing` says that there is no file on
    this server, or that nobody knows as it is `file_unreadable`, `copies` which ones there are
    elsewhere, `places` at which destinations one can be read, `held` what holds it (see
    `retention.held_by`), and `expires_at` when the rule `days` lets it go, where nothing else holds
    it. Of a backup that is `elsewhere`, all that is said of the one on this server is said of that
    copy: `intact`, `verified_at`, `held` and `expires_at`.
    """

    id: str
    state: str
    reason: str | None = None
    created_at: datetime
    created_by: str
    duration_seconds: float | None = None
    size_bytes: int | None = None
    sha256: str | None = None
    warning_count: int = 0
    kept: bool = False
    adopted_at: datetime | None = None
    origin: str | None = None
    verified_at: datetime | None = None
    intact: bool | None = None
    rehearsed_at: datetime | None = None
    restorable: bool | None = None
    deleting: bool | None = None
    since: dict[str, Any] | None = None
    changed_files: int | None = None
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    acknowledged_note: str | None = None
    label: str | None = None
    note: str | None = None
    file_missing: bool = False
    file_unreadable: bool = False
    copies: tuple[Copy, ...] = ()
    places: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    expires_at: datetime | None = None

    @property
    def adopted(self) -> bool:
        """Whether it was found in the backup directory."""
        return self.adopted_at is not None

    @property
    def has_alarm(self) -> bool:
        """Whether package files have changed, and nobody has said that they know why."""
        return bool(self.changed_files) and self.acknowledged_at is None

    @property
    def foreign(self) -> bool:
        """Whether it is another registry's, as far as is known: no rule deletes it here."""
        return self.origin is not None

    @property
    def age_from(self) -> datetime:
        """When its age is counted from: one that was adopted may be made long ago."""
        return self.adopted_at or self.created_at

    @property
    def good_copies(self) -> list[Copy]:
        """Those that it could be read from; none can at a place that is no destination any more."""
        return [copy for copy in self.copies if copy.good and copy.place in self.places]

    @property
    def elsewhere(self) -> Copy | None:
        """The copy that it is read from, where there is no file on this server: one that was
        verified comes first."""
        good = self.good_copies if self.file_missing else []
        return max(good, key=lambda copy: bool(copy.intact), default=None)

    @property
    def going(self) -> bool:
        """Whether nothing is left of it but copies that are to go."""
        to_go = [copy.state == DELETING for copy in self.copies]
        return self.file_missing and bool(to_go) and all(to_go)

    @property
    def lost(self) -> bool:
        """Whether its file is gone, which nobody has deleted, and there is no good copy of it."""
        deleted = self.going or bool(self.deleting)
        gone = self.state == "completed" and self.file_missing and not deleted
        return gone and self.elsewhere is None

    @property
    def good(self) -> bool:
        """Whether a registry could be restored from it, as far as is known."""
        return self.good_here or self.elsewhere is not None

    @property
    def good_here(self) -> bool:
        """Whether it could be from the archive on this server."""
        return self.state == "completed" and not self.file_missing and self.intact is not False


@dataclass(frozen=True, kw_only=True)
class Backup(_Backup):
    """A backup with its `manifest`, the archive's own."""

    manifest: dict[str, Any] | None = None

    @property
    def contents(self) -> dict[str, int] | None:
        """How many there are of what, by the manifest."""
        return None if self.manifest is None else self.manifest["contents"]

    @property
    def checksums(self) -> dict[str, str] | None:
        """The checksums of the manifest; an archive of HexHub's has none."""
        return None if self.manifest is None else self.manifest["checksums"]


@dataclass(frozen=True, kw_only=True)
class ListedBackup(_Backup):
    """A backup in a list: of its manifest only what a list shows."""

    contents: dict[str, int] | None
    checksums: dict[str, str] | None
