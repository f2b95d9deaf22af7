"""Orders: asked for, run by whoever has the id, cancelled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any

from hexhub_backup.coordination.base import Coordinator, kept_events
from hexhub_backup.depot.base import Depot
from hexhub_backup.destinations.encryption import Identities
from hexhub_backup.errors import BackupError, BusyError, CancelledError, DatabaseError
from hexhub_backup.history.models import QUEUED, RUNNING, Operation
from hexhub_backup.history.store import Catalog, busy_with, utc_now
from hexhub_backup.history.transactions import now
from hexhub_backup.jobs import running
from hexhub_backup.jobs.ending import as_backup_error
from hexhub_backup.jobs.recovery import Recovery
from hexhub_backup.jobs.runner import Runner, ThreadRunner
from hexhub_backup.jobs.running import Done, Files
from hexhub_backup.verbs import VERBS
from hexhub_backup.verbs.base import Context, Order, Verb


class Orders:
    """The orders of one app. With a `runner` of the host's that runs those that are started."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        coordinator: Coordinator,
        depot: Depot,
        recovery: Recovery,
        context: Callable[[Any, Operation, str], Context],
        runner: Runner | None,
    ) -> None:
        self._catalog = catalog
        self._coordinator = coordinator
        self._depot = depot
        self._recovery = recovery
        self._context = context
        self._runner = runner
        #: What the orders hold that are bound to this process, by their ids, and their keys.
        self._held: dict[str, tuple[Files, Identities | None]] = {}
        #: With what every operation in this process has to end, as soon as it is set.
        self.stopping: BackupError | None = None

    @property
    def has_runner(self) -> bool:
        """Whether the host's runner runs the orders that are started."""
        return self._runner is not None

    def start(self, app: Any, order: Order, *, identity: Identities | None = None) -> str:
        """Have an order run elsewhere: in a thread of this process, or by the host's runner. One
        that needs private keys never leaves this process. Returns the operation's id, once the
        order is recorded. Raises BusyError, NotFoundError and DatabaseError: then nothing is left
        of it."""
        runner = self._runner if identity is None else None
        self._place(app, order, bound=runner is None, identity=identity)
        try:
            (runner or ThreadRunner(app, order.verb)).submit(order.id)
        except BaseException as error:
            withdrawn = self._withdraw(order.id)
            if not isinstance(error, Exception):
                raise
            if not withdrawn:
                # It has got to a worker all the same.
                return order.id
            if isinstance(error, BackupError):
                raise
            raise BusyError(
                f"The {order.verb} was not begun, because the host's runner did not take it "
                f"({type(error).__name__}): see to the runner, and start again."
            ) from error
        return order.id

    def run(self, app: Any, order: Order, *, identity: Identities | None = None) -> Done:
        """Run an order here, in this thread, to its end; with the keys that it needs. Raises
        BusyError, NotFoundError and DatabaseError at once, and what ended the operation, after it
        was recorded, as BackupError."""
        self._place(app, order, bound=True, identity=identity)
        return running.run_alone(app, order.id)

    def cancel(self, app: Any, operation_id: str) -> None:
        """End an order that waits at once, and an operation that runs, in whichever process, at
        its next chunk. Raises NotFoundError."""
        operation = self._catalog.operation(operation_id)
        if operation.state == QUEUED:
            context = self._context(app, operation, running.new_token())
            if running.abandon(context, CancelledError("It was cancelled before it began.")):
                return
            operation = self._catalog.operation(operation_id)
        if operation.state == RUNNING:
            self._coordinator.wish_stop(operation_id)

    def events(self, operation_id: str, after: int = 0) -> Iterator[dict[str, Any]]:
        """The kept events of an operation. Raises NotFoundError."""
        self._catalog.operation(operation_id)
        return kept_events(self._coordinator, operation_id, after)

    def hand_over(self, operation_id: str) -> tuple[Files | None, Identities | None]:
        """What this process has held for an order since it was placed, to whoever runs it."""
        return self._held.pop(operation_id, (None, None))

    def _place(
        self, app: Any, order: Order, *, bound: bool, identity: Identities | None = None
    ) -> None:
        """Record an order. What a bound one needs of files is held from now on, so that recovery
        knows that somebody will come for it."""
        operation = Operation(
            id=order.id,
            verb=order.verb,
            state=QUEUED,
            actor=order.who.actor,
            address=order.who.address,
            backup_id=order.backup,
            follows_id=order.follows,
            options=order.options,
            queued_at=utc_now(),
            bound=bound,
        )
        try:
            files = Files(self._coordinator, self._depot, operation)
            try:
                self._add(app, operation)
            except BaseException as error:
                files.close()
                # Recovery ends an order that is recorded, whose log is there and held by nobody.
                if not (isinstance(error, DatabaseError) and error.unanswered):
                    self._coordinator.remove_log(order.id)
                raise
        except OSError as error:
            raise as_backup_error(error, order.verb) from error
        if bound:
            self._held[order.id] = files, identity
        else:
            files.close()

    def _add(self, app: Any, operation: Operation) -> None:
        verb = VERBS[operation.verb]
        with ExitStack() as alone:
            if verb.exclusive:
                alone.enter_context(self._coordinator.exclusive())
                self._recovery(app)
            elif verb.alone:
                alone.enter_context(self._coordinator.exclusive(verb.name))
                self._refuse_second(verb)
            try:
                # By one clock: others tell by theirs how long it has been waiting.
                operation = replace(operation, queued_at=now(self._catalog.engine))
                self._catalog.add_operation(operation, exclusive=verb.exclusive)
            except DatabaseError as error:
                refusal = DatabaseError(
                    f"The {verb.name} was not begun, because it could not be recorded. {error}"
                )
                refusal.unanswered = error.unanswered
                raise refusal from error

    def _refuse_second(self, verb: Verb) -> None:
        """Raises BusyError where another operation of a verb waits or runs."""
        for other in self._catalog.unfinished_operations():
            if other.verb == verb.name and not self._recovery.is_due(other):
                raise busy_with(other, only=verb.name)

    def _withdraw(self, operation_id: str) -> bool:
        """Forget an order that nobody will run. False where somebody has taken it by now. Where the
        database is away, recovery ends the order: its log stays, held by nobody."""
        files, _ = self.hand_over(operation_id)
        if files is not None:
            files.close()
        with suppress(DatabaseError):
            if not self._catalog.delete_operation(operation_id, state_was=QUEUED):
                return False
            self._coordinator.remove_log(operation_id)
        return True
