"""Registries with one fault each, and the test that finds it. Run by `test_broken.py`."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import pytest
import sqlalchemy as sa

from hexhub_backup.archive.batch import Batch
from hexhub_backup.archive.records import KINDS, USERS, Kind, Record
from hexhub_backup.registry.base import Action, Comparison
from hexhub_backup.testing.registries.host import NewRegistry
from tests.support.document_registry import (
    DocumentConformance,
    DocumentRegistry,
    DocumentRestoration,
    DocumentSnapshot,
    DocumentUndoing,
)


class BrokenRegistry(DocumentRegistry):
    #: The name of the test that finds the fault.
    found_by: ClassVar[str]


# --- reading ---------------------------------------------------------------------------------


class ReadsInAnyOrder(BrokenRegistry):
    found_by = "test_records_come_in_byte_order_of_their_keys"

    class Snapshot(DocumentSnapshot):
        order = "lower(one), two"


class ReadsAllAtOnce(BrokenRegistry):
    found_by = "test_many_records_come_in_several_batches"

    class Snapshot(DocumentSnapshot):
        size = 1_000_000


class ReadsManyMoments(BrokenRegistry):
    """Each query is a transaction of its own."""

    found_by = "test_a_snapshot_sees_one_moment"

    @contextmanager
    def snapshot(self) -> Iterator[DocumentSnapshot]:
        with self.connected() as connection:
            yield self.Snapshot(connection)


class CountsOneMore(BrokenRegistry):
    found_by = "test_counts_and_keys_are_those_of_the_records"

    class Snapshot(DocumentSnapshot):
        def count(self, kind: Kind) -> int:
            return super().count(kind) + 1


class HasMoreFields(BrokenRegistry):
    found_by = "test_a_record_has_the_fields_of_its_kind"

    def fields(self, kind: Kind) -> frozenset[str]:
        return super().fields(kind) | {"more"}


class KnowsEverybody(BrokenRegistry):
    found_by = "test_the_host_knows_who_a_user_is"

    def username_of(self, user: object) -> str | None:
        return "ann"


# --- comparing -------------------------------------------------------------------------------


class StagesInTheTable(BrokenRegistry):
    found_by = "test_staging_changes_nothing_that_others_see_and_keeps_nobody_waiting"

    class Restoration(DocumentRestoration):
        def stage(
            self,
            kind: Kind,
            rows: Iterable[tuple[int, Record, Action | None]],
            refused: Mapping[int, str] = MappingProxyType({}),
        ) -> None:
            super().stage(kind, rows, refused)
            for record, action in self.rows[kind.name].values():
                if action is None:
                    self.put(kind, record)


class ComparesInOrderOfKeys(BrokenRegistry):
    found_by = "test_comparisons_come_in_order_of_the_numbers_of_the_records"

    class Restoration(DocumentRestoration):
        def compare(self, kind: Kind, **options: bool) -> Iterator[Comparison]:
            found = super().compare(kind, **options)
            yield from sorted(found, key=lambda each: each.key)


class SkipsWhatWasToBeCreated(BrokenRegistry):
    found_by = "test_what_was_to_be_created_is_skipped_as_long_as_it_can_be"

    class Restoration(DocumentRestoration):
        def compare(self, kind: Kind, **options: bool) -> Iterator[Comparison]:
            for each in super().compare(kind, **options):
                action = self.rows[kind.name][each.n][1]
                if not (options.get("skip_new") and action == "create"):
                    yield each


class SkipsWhatDiffers(BrokenRegistry):
    found_by = "test_nothing_is_skipped_but_what_is_unchanged"

    class Restoration(DocumentRestoration):
        def compare(self, kind: Kind, **options: bool) -> Iterator[Comparison]:
            for each in super().compare(kind, **options):
                if not (options.get("skip_same") and each.state == "conflict"):
                    yield each


class SkipsTheActingAdmin(BrokenRegistry):
    found_by = "test_nothing_is_skipped_but_what_is_unchanged"

    class Restoration(DocumentRestoration):
        def compare(self, kind: Kind, **options: bool) -> Iterator[Comparison]:
            for each in super().compare(kind, **options):
                if not (options.get("skip_same") and each.state == "unchanged"):
                    yield each


class BlocksNothing(BrokenRegistry):
    found_by = "test_a_record_without_its_parent_is_blocked"

    class Restoration(DocumentRestoration):
        def problem(self, kind: Kind, n: int, record: Record) -> str | None:
            return None


class BlocksAlways(BrokenRegistry):
    found_by = "test_without_blocking_nothing_is_held_against_other_records"

    class Restoration(DocumentRestoration):
        def compare(self, kind: Kind, **options: bool) -> Iterator[Comparison]:
            return super().compare(kind, **options | {"blocking": True})


class ShowsSecrets(BrokenRegistry):
    found_by = "test_a_conflict_says_what_changes_and_nothing_of_a_secret"

    class Restoration(DocumentRestoration):
        def change(self, name: str, old: Any, new: Any) -> tuple[str | None, str | None] | None:
            return str(old), str(new)


class ComparesWhatIsNotThere(BrokenRegistry):
    """A record that lacks a field would set it to null."""

    found_by = "test_a_field_that_a_record_does_not_have_is_not_compared"

    class Restoration(DocumentRestoration):
        def written(self, kind: Kind, record: Record) -> Record:
            return super().written(kind, {name: record.get(name) for name in kind.fields} | record)


class ComparesOnlyOnce(BrokenRegistry):
    """And believes it in the decision."""

    found_by = "test_a_decision_sees_what_was_written_since_the_records_were_staged"

    class Restoration(DocumentRestoration):
        def compare(self, kind: Kind, **options: bool) -> Iterator[Comparison]:
            seen = self.__dict__.setdefault("seen", {})
            if kind.name not in seen:
                found = super().compare(kind, **options)
                seen[kind.name] = list(found)
            yield from seen[kind.name]


# --- deciding --------------------------------------------------------------------------------


class CommitsOnException(BrokenRegistry):
    found_by = "test_an_exception_in_a_decision_undoes_all_of_it"

    class Restoration(DocumentRestoration):
        @contextmanager
        def decision(self) -> Iterator[sa.Connection]:
            with super().decision() as connection:
                try:
                    yield connection
                except BaseException:
                    connection.exec_driver_sql("COMMIT")
                    connection.exec_driver_sql("BEGIN")
                    raise


class CommitsAsItGoes(BrokenRegistry):
    """There is no transaction at all."""

    found_by = "test_an_exception_in_a_decision_undoes_all_of_it"

    class Restoration(DocumentRestoration):
        @contextmanager
        def decision(self) -> Iterator[sa.Connection]:
            yield self.connection


class DecidesOnlyRows(BrokenRegistry):
    """Our tables are written on another connection: one of the two may be there alone."""

    found_by = "test_an_exception_in_a_decision_undoes_all_of_it"

    class Restoration(DocumentRestoration):
        @contextmanager
        def decision(self) -> Iterator[sa.Connection]:
            other = self.connection.engine.connect()
            with other.execution_options(isolation_level="AUTOCOMMIT"):
                # It writes when it is first told to: up to then there is nothing in its way.
                self.connection.exec_driver_sql("BEGIN")
                try:
                    yield other
                except BaseException:
                    self.connection.exec_driver_sql("ROLLBACK")
                    raise
                self.connection.exec_driver_sql("COMMIT")


class DecidesBesideOthers(BrokenRegistry):
    """It locks nothing before it writes."""

    found_by = "test_nobody_else_writes_during_a_decision"

    class Restoration(DocumentRestoration):
        @contextmanager
        def decision(self) -> Iterator[sa.Connection]:
            rows = self.rows
            with super().decision() as connection:
                connection.exec_driver_sql("COMMIT")
                yield connection
                connection.exec_driver_sql("BEGIN")
                self.rows = rows


class WritesWhateverIsThere(BrokenRegistry):
    found_by = "test_exactly_what_was_staged_is_written_or_nothing"

    class Restoration(DocumentRestoration):
        def write_one(self, kind: Kind, record: Record, action: Action) -> None:
            self.put(kind, {**(self.find(kind, kind.key_of(record)) or {}), **record})


class WritesWhatWasNotChosen(BrokenRegistry):
    found_by = "test_only_what_has_an_action_is_written"

    class Restoration(DocumentRestoration):
        def write(self, kind: Kind) -> None:
            for record, _ in self.rows.get(kind.name, {}).values():
                self.put(kind, record)


class ReplacesWholeRecords(BrokenRegistry):
    """What the archive does not have is lost."""

    found_by = "test_what_a_record_does_not_have_keeps_its_value"

    class Restoration(DocumentRestoration):
        def put(self, kind: Kind, record: Record) -> None:
            staged = [each for each, _ in self.rows.get(kind.name, {}).values()]
            super().put(kind, next(each for each in staged if each.items() <= record.items()))


class WritesTheOwnAccount(BrokenRegistry):
    found_by = "test_the_account_of_who_restores_is_never_written"

    def __init__(self, path: Path) -> None:
        super().__init__(path)

    class Restoration(DocumentRestoration):
        def write_one(self, kind: Kind, record: Record, action: Action) -> None:
            self.actor = None
            super().write_one(kind, record, action)


class KeepsNothing(BrokenRegistry):
    found_by = "test_what_is_going_to_be_overwritten_can_be_kept"

    class Restoration(DocumentRestoration):
        def replaced(self, kind: Kind) -> Iterator[tuple[int, Record | None]]:
            return ((n, None) for n, _ in super().replaced(kind))


class GivesRightsAway(BrokenRegistry):
    found_by = "test_a_right_comes_in_only_where_it_is_granted"

    class Restoration(DocumentRestoration):
        def written(self, kind: Kind, record: Record) -> Record:
            granted, self.granted = self.granted, True
            try:
                return super().written(kind, record)
            finally:
                self.granted = granted


class OverwritesAdmins(BrokenRegistry):
    found_by = "test_an_account_that_holds_a_right_is_not_overwritten_without_a_grant"

    class Restoration(DocumentRestoration):
        def write_one(self, kind: Kind, record: Record, action: Action) -> None:
            if kind is USERS:
                self.put(kind, {**(self.find(kind, kind.key_of(record)) or {}), **record})
            else:
                super().write_one(kind, record, action)


# --- undoing ---------------------------------------------------------------------------------


class RemovesNothing(BrokenRegistry):
    found_by = "test_an_undo_removes_what_was_created_and_brings_back_what_was_overwritten"

    class Undoing(DocumentUndoing):
        def remove(self) -> bool:
            self.stays = {kind.name: [] for kind in KINDS}
            return True


class RemovesWhatIsReferredTo(BrokenRegistry):
    found_by = "test_what_other_rows_refer_to_stays_and_is_listed"

    class Undoing(DocumentUndoing):
        def remove(self) -> bool:
            super().remove()
            for kind in KINDS:
                for _, key in self.stays[kind.name]:
                    self.left.delete(kind, key)
            self.stays = {kind.name: [] for kind in KINDS}
            return True


class SparesNothing(BrokenRegistry):
    found_by = "test_what_is_spared_stays_as_it_is"

    class Undoing(DocumentUndoing):
        def spare(self, kind: Kind, numbers: Sequence[int]) -> None:
            """Forgets to."""


class SparesWhatWasCreatedOnly(BrokenRegistry):
    found_by = "test_what_is_spared_stays_as_it_is"

    class Undoing(DocumentUndoing):
        def spare(self, kind: Kind, numbers: Sequence[int]) -> None:
            before, self.before = self.before, self.left
            super().spare(kind, numbers)
            self.before = before


class UndoesInTwoTransactions(BrokenRegistry):
    found_by = "test_an_undo_commits_rows_and_our_tables_together"

    class Undoing(DocumentUndoing):
        def remove(self) -> bool:
            removed = super().remove()
            self.left.connection.exec_driver_sql("COMMIT")
            self.left.connection.exec_driver_sql("BEGIN IMMEDIATE")
            return removed


class LosesAField(BrokenRegistry):
    found_by = "test_what_was_written_is_read_back"

    class Restoration(DocumentRestoration):
        def written(self, kind: Kind, record: Record) -> Record:
            return {**super().written(kind, record), "inserted_at": None}


class CountsNothingAsNone(BrokenRegistry):
    found_by = "test_a_registry_without_records_is_read"

    class Snapshot(DocumentSnapshot):
        def batches(self, kind: Kind) -> Iterator[Batch]:
            yield from super().batches(kind)
            yield Batch({name: [] for name in sorted(kind.fields)})


class SeesNoChange(BrokenRegistry):
    found_by = "test_a_record_that_differs_is_a_conflict_which_names_the_fields"

    class Restoration(DocumentRestoration):
        def compare(self, kind: Kind, **options: bool) -> Iterator[Comparison]:
            for each in super().compare(kind, **options):
                yield each._replace(state="unchanged", differs=())


class SeesNoChangeSinceTheRestore(SeesNoChange, BrokenRegistry):
    found_by = "test_what_others_changed_since_the_restore_is_seen"


class SeesConflictsOnly(BrokenRegistry):
    found_by = "test_records_of_the_registry_are_unchanged"

    class Restoration(DocumentRestoration):
        def compare(self, kind: Kind, **options: bool) -> Iterator[Comparison]:
            for each in super().compare(kind, **options):
                yield each._replace(state="conflict")


class SeesConflictsWithNothing(SeesConflictsOnly, BrokenRegistry):
    found_by = "test_records_that_are_not_there_would_be_created"


class WantsAllParentsInTheArchive(BrokenRegistry):
    found_by = "test_a_parent_in_the_registry_is_enough"

    class Restoration(DocumentRestoration):
        def problem(self, kind: Kind, n: int, record: Record) -> str | None:
            return None if "name" in record or "username" in record else "its parent is not staged"


class RefusesNothing(BrokenRegistry):
    found_by = "test_a_record_that_was_refused_is_blocked_and_so_are_its_children"

    class Restoration(DocumentRestoration):
        def stage(
            self,
            kind: Kind,
            rows: Iterable[tuple[int, Record, Action | None]],
            refused: Mapping[int, str] = MappingProxyType({}),
        ) -> None:
            super().stage(kind, rows)


class KnowsNobody(BrokenRegistry):
    found_by = "test_the_account_of_who_restores_is_known"

    class Restoration(DocumentRestoration):
        def compare(self, kind: Kind, **options: bool) -> Iterator[Comparison]:
            for each in super().compare(kind, **options):
                yield each._replace(own=False)


class CommitsNothing(BrokenRegistry):
    found_by = "test_a_decision_commits_rows_and_our_tables_together"

    class Restoration(DocumentRestoration):
        @contextmanager
        def decision(self) -> Iterator[sa.Connection]:
            with super().decision() as connection:
                yield connection
                # The rows of `registry` itself have to get there.
                if len(self.rows[USERS.name]) == 0:
                    connection.exec_driver_sql("ROLLBACK")
                    connection.exec_driver_sql("BEGIN")


class OverwritesNothing(BrokenRegistry):
    found_by = "test_what_is_overwritten_becomes_the_archives"

    class Restoration(DocumentRestoration):
        def write_one(self, kind: Kind, record: Record, action: Action) -> None:
            if action == "create":
                super().write_one(kind, record, action)


class UndoesBesideOthers(BrokenRegistry):
    found_by = "test_nobody_else_writes_during_the_decision_of_an_undo"

    class Undoing(DocumentUndoing):
        @contextmanager
        def decision(self) -> Iterator[sa.Connection]:
            yield self.left.connection


BROKEN = {each.__name__: each for each in BrokenRegistry.__subclasses__()}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    names = [name for name, each in BROKEN.items() if each.found_by == metafunc.function.__name__]
    metafunc.parametrize("new_registry", names, indirect=True)


class Faults(DocumentConformance):
    @pytest.fixture
    def new_registry(self, request: pytest.FixtureRequest, tmp_path: Path) -> NewRegistry:
        broken = BROKEN[request.param]
        number = itertools.count()
        return lambda: broken(tmp_path / f"{next(number)}.db")
