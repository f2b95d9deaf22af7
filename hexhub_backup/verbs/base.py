"""What a verb is: one object, which says all that the others ask of an operation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hexhub_backup.coordination.base import Coordinator
from hexhub_backup.depot.base import Depot
from hexhub_backup.depot.names import new_id
from hexhub_backup.destinations.base import Destination
from hexhub_backup.destinations.encryption import Identities
from hexhub_backup.history.kept import History
from hexhub_backup.history.models import ListedOperation, Operation, Who
from hexhub_backup.history.plans import Plans
from hexhub_backup.history.run_decisions import RunDecisions
from hexhub_backup.history.store import Catalog
from hexhub_backup.operations import commit_protocol
from hexhub_backup.operations.progress import Progress
from hexhub_backup.operations.rehearse import Usable
from hexhub_backup.operations.release_check import ReleaseCheck
from hexhub_backup.registry.base import Registry
from hexhub_backup.settings import Settings
from hexhub_backup.storage.base import Storage

Outcome = dict[str, Any]
#: Looks with the host's own code at what a rehearsal has restored: on an engine on which the host's
#: models are that, and in a folder with its files.
CheckRestored = Callable[[Any, Path], Usable]


@dataclass(frozen=True, kw_only=True)
class Order:
    """An operation that is asked for: nothing but data, so that any process can run it.

    `backup` is the id of the backup that it is about, `follows` that of the operation which it
    goes on from. Where `options` name an `archive`, that file is held until the operation ends.
    """

    #: Of the operation that it becomes.
    id: str = field(default_factory=new_id)
    verb: str
    who: Who
    backup: str | None = None
    follows: str | None = None
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a verb works with: the parts of an app's backups, and the operation as it was taken.

    `app` is only the sender of signals. `run_token` stands for this run of the operation.
    `identity` are the private keys that this process was handed for it: they are kept nowhere.
    """

    app: Any
    operation: Operation
    run_token: str
    settings: Settings
    registry: Registry
    storage: Storage
    destinations: Mapping[str, Destination]
    coordinator: Coordinator
    depot: Depot
    catalog: Catalog
    history: History
    plans: Plans
    generator: str
    check_restored: CheckRestored | None
    check_release: ReleaseCheck | None
    identity: Identities | None = field(default=None, repr=False)

    @property
    def decisions(self) -> RunDecisions:
        """Where this run has its decision remembered."""
        return RunDecisions(self.catalog.engine, self.run_token)


def finish_commit(context: Context) -> Outcome:
    """For recovery: do what was decided, and return its outcome; see `commit_protocol.finish`."""
    outcome = context.operation.outcome or {}
    commit_protocol.finish(
        context.operation.id,
        context.registry,
        context.storage,
        context.decisions,
        # Nobody looks on; the outcome has it.
        warn=lambda _: None,
        outcome=outcome,
    )
    return outcome


def _nothing(*_: Any) -> None:
    """Most verbs have nothing to do there."""


@dataclass(frozen=True, kw_only=True)
class Verb:
    """One verb. Each function gets the Context of one operation."""

    name: str
    #: What an operation is called on the pages.
    noun: str
    #: Whether it changes what others rely on: one such operation runs at a time.
    exclusive: bool
    #: Whether one operation of this verb runs at a time, whatever else does.
    alone: bool = False
    #: The steps of an operation, in order.
    steps: Callable[[Operation], Sequence[str]]
    #: The steps in words.
    step_words: Mapping[str, str]
    #: Does the work and returns the outcome. Raises BackupError, OSError.
    work: Callable[[Context, Progress], Outcome]
    #: Adds rows of its own, once the operation has begun.
    begin: Callable[[Context], None] = _nothing
    #: Writes rows of its own before that of the operation is ended; idempotent. `ended` has the
    #: `state`, `reason`, `code`, `outcome`, `warning_count` and `duration_seconds`.
    end: Callable[[Context, Mapping[str, Any]], None] = _nothing
    #: Sends its own signal, of an outcome that is true by now. After a crash it may be sent again.
    announce: Callable[[Context, Outcome], None] = _nothing
    #: For recovery: whether an operation whose process died has happened.
    happened: Callable[[Context], bool] = lambda context: context.operation.decided_at is not None
    #: For recovery: finishes what has happened and returns the outcome; idempotent. Raises
    #: BackupError, OSError: recovery tries again later.
    finish: Callable[[Context], Outcome] = lambda context: context.operation.outcome or {}
    #: For recovery, and where an order is never run: takes back what has not happened; idempotent.
    give_up: Callable[[Context], None] = _nothing
    #: The audit event in which every end is told.
    audit_event: str | None = None
    #: The audit event in which every end is told but `completed`, which has a signal of its own.
    failure_audit_event: str | None = None
    #: Whether an operation makes a plan, whose id is its own.
    makes_plan: bool = False
    #: Whether the first page tells of an operation that is completed.
    is_news: Callable[[ListedOperation], bool] = lambda _: True
