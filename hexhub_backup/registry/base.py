"""What an operation asks of a registry: records to read, and rows to compare and write."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, runtime_checkable

from hexhub_backup.archive.batch import Batch
from hexhub_backup.archive.records import Key, Kind, Record

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection, Engine

#: What a restore does with one record; None leaves it as it is.
Action = Literal["create", "overwrite"]
#: What a record is to the registry.
State = Literal["create", "unchanged", "conflict", "blocked"]


class Comparison(NamedTuple):
    """One staged record beside the registry as it is now.

    `n` is the number it was staged with, `key` the record's own key.
    """

    n: int
    key: Key
    state: State
    #: The compared fields that differ, by name only: values may be secrets.
    differs: tuple[str, ...] = ()
    #: Why the record is blocked, and the fix: a sentence without secrets.
    reason: str | None = None
    #: The row is there, but the host's `where` hides it. Always a conflict, or blocked.
    hidden: bool = False
    #: The record is the account of the acting admin: it is never written.
    own: bool = False
    #: The archive says `totp_enabled`, and after a write the account would have it off.
    totp_dropped: bool = False
    #: The password hash is of no known scheme.
    unknown_password: bool = False
    #: The protected fields which a write that was granted them would change, granted or not.
    #: On create those whose value is neither null, false, zero nor empty, of users the rights.
    protected: tuple[str, ...] = ()
    #: The account holds a protected right in the registry: see `comparing/rights.py`.
    holds: bool = False
    #: The fields of which its record holds one.
    would_hold: tuple[str, ...] = ()
    #: By protected field of an account, the text of the right that it holds here while it is
    #: active, and of the one that it would after a write.
    rights: Mapping[str, tuple[str | None, str | None]] = MappingProxyType({})
    #: Where it was asked for: what each field of `differs` is in the registry and in the archive,
    #: as texts for people; None for a secret.
    changes: Mapping[str, tuple[str | None, str | None] | None] = MappingProxyType({})

    @property
    def privileged(self) -> bool:
        """Whether the account holds a protected right, here or in its record."""
        return self.holds or bool(self.would_hold)

    @property
    def is_plain(self) -> bool:
        """Whether there is nothing to it but its key and its state."""
        return self[3:] == _PLAIN


_PLAIN = Comparison(0, (), "create")[3:]


class Snapshot(Protocol):
    """The four kinds as they were at one moment."""

    def count(self, kind: Kind) -> int:
        """How many records there are."""
        ...

    def batches(self, kind: Kind) -> Iterator[Batch]:
        """The records, streamed, in byte order of the key: as many at a time as are small in
        memory.

        Raises RecordError for a row that does not fit its mapping, DatabaseError.
        """
        ...

    def keys(self, kind: Kind, *, hidden: bool = False) -> Iterator[Key]:
        """The records' keys alone, as `batches` would give them; with `hidden` also those of the
        rows that the host's `where` hides."""
        ...


class Restoration(Protocol):
    """The records of one archive, staged beside the registry and not yet in it.

    Kinds are staged, compared and written in the order of `KINDS`: parents come first.
    """

    @property
    def connection(self) -> Connection:
        """Its connection to the database of `Registry.engine`, outside of a transaction but inside
        `decision`. What is going to be committed together with the rows is staged on it."""
        ...

    def stage(
        self,
        kind: Kind,
        rows: Iterable[tuple[int, Record, Action | None]],
        refused: Mapping[int, str] = ...,
    ) -> None:
        """Load `(n, record, action)`, `n` unique within the kind; once for each kind. Those whose
        number is in `refused` are blocked, for the reason that it gives.

        Changes nothing that others see, and takes no lock. Raises DatabaseError.
        """
        ...

    def compare(
        self,
        kind: Kind,
        *,
        blocking: bool = True,
        changes: bool = False,
        skip_new: bool = False,
        skip_same: bool = False,
    ) -> Iterator[Comparison]:
        """Each staged record, in order of `n`, beside the registry as it is now. Without
        `blocking` only that: nothing is held against other records, and one may come twice.
        With `changes` each conflict says what they are. With `skip_new` a record that was staged
        to be created is left out as long as it is neither in the registry nor blocked, and comes
        otherwise. With `skip_same` any other record may be left out which is `unchanged`, holds no
        protected right and is not the acting admin's.

        Needs the kinds of its parents to have been staged. Inside `decision` it sees what
        nobody else can change any more. Raises DatabaseError.
        """
        ...

    def decision(self) -> AbstractContextManager[Connection]:
        """The one transaction of the restore, in which nobody else writes.

        Gives `connection`, for what is to be committed together with the rows. Leaving it commits,
        an exception rolls everything back. Raises DatabaseError.
        """
        ...

    def write(self, kind: Kind) -> None:
        """Create and overwrite the rows staged with an action; only inside `decision`.

        Raises DatabaseError, also where it were not exactly as many rows as were staged;
        RightsError for an account that holds a protected right, without a grant.
        """
        ...

    def write_all(self) -> None:
        """`write` all kinds, and have the database look at what it would look at on commit.

        Raises RefusedError with each record that it does not take, DatabaseError.
        """
        ...

    def replaced(self, kind: Kind) -> Iterator[tuple[int, Record | None]]:
        """Before `write`, inside `decision`: what each row to be overwritten holds now, as the
        record with the key and the fields that are going to be set, in order of `n`. None for a
        row that has no counterpart in JSON."""
        ...

    def rights(self) -> Mapping[tuple[str, str], int]:
        """How many active accounts of the registry hold each protected right now, by field and
        the value's text. Raises DatabaseError."""
        ...

    def still_hidden(self, kind: Kind) -> Iterator[Key]:
        """After `write`: the written records whose rows the host's `where` hides."""
        ...


class Undoing(Protocol):
    """What a restore left behind, and what was there before it, staged beside the registry.

    Records are staged under the numbers that they have in both.
    """

    @property
    def left(self) -> Restoration:
        """The records that the restore wrote, each staged with what it did."""
        ...

    @property
    def before(self) -> Restoration:
        """Of those that it overwrote the records that were there before, staged to be
        overwritten."""
        ...

    def decision(self) -> AbstractContextManager[Connection]:
        """As of a Restoration, for both."""
        ...

    def spare(self, kind: Kind, numbers: Sequence[int]) -> None:
        """Leave these rows, some thousand at most, as they are; before `decision` or inside. Raises
        DatabaseError."""
        ...

    def remove(self) -> bool:
        """Delete the rows that the restore created, but those to which rows refer that stay; only
        inside `decision`. Gives whether that was all. Called again it deletes what only rows
        referred to which `before` has written since. Raises DatabaseError."""
        ...

    def referred(self, kind: Kind) -> Iterator[tuple[int, Key]]:
        """After `remove`: the rows that stay, because other rows refer to them by now."""
        ...


class Registry(Protocol):
    """The host's data, seen as four kinds of records.

    The rows and our own tables are in one database, that of `engine`: a restore and an undo commit
    both in one transaction, and nothing else makes them happen wholly or not at all.

    Several threads and processes use a registry at the same time. `hexhub_backup.testing` holds
    one of your own to this.
    """

    @property
    def engine(self) -> Engine:
        """The engine of the database that holds the rows, in which our own tables are made. It is
        asked for on each use, in the app's context."""
        ...

    def fields(self, kind: Kind) -> frozenset[str]:
        """The fields that have a column here."""
        ...

    def compared(self, kind: Kind) -> frozenset[str]:
        """Those of them that a comparison looks at without a grant, key fields included: neither
        volatile nor protected."""
        ...

    def check(self) -> None:
        """Raise MappingError for a mapping that can not work; without a connection."""
        ...

    def snapshot(self) -> AbstractContextManager[Snapshot]:
        """Read all four kinds as of one moment. Raises DatabaseError."""
        ...

    def restoration(
        self, *, protected: bool, actor: str | None, overwrite: bool
    ) -> AbstractContextManager[Restoration]:
        """Begin a restore: `protected` columns come in only where granted, the account of
        `actor` (a username) is never written, and `overwrite` says whether conflicts become
        the archive's, which can bring a hidden parent back. Raises DatabaseError.
        """
        ...

    def undoing(self, *, protected: bool, actor: str | None) -> AbstractContextManager[Undoing]:
        """Begin to undo a restore that had been granted `protected` columns, or not. The account
        of `actor` is never written. Raises DatabaseError."""
        ...

    def username_of(self, user: object) -> str | None:
        """The username that a user of Flask-Login's has in the registry; None for an object that
        is no user of the registry. It is asked where `init_app` was given no `actor`."""
        ...

    def let_go(self) -> None:
        """Give back the connection that a session of the host's holds in this context, as who is
        logged in was read by it. Nothing where a host has no such session, or where it holds
        something unsaved."""
        ...


@dataclass(frozen=True)
class Scratch:
    """An empty registry beside the host's own, with its maps and the rules of its database.

    On `engine` the host's own models are these tables. `not_copied` are what the rules lack, in
    words: a trigger, say."""

    registry: Registry
    engine: Engine
    not_copied: list[str]


@runtime_checkable
class Rehearsable(Protocol):
    """A registry that can be had once more, empty, to try a restore in it. A registry of your own
    need not be one: then its backups can't be rehearsed."""

    def scratch(
        self, *, name: str, folder: Path, database: str | None
    ) -> AbstractContextManager[Scratch]:
        """Make one, and remove it when it is left. `name` tells it apart from all others, `folder`
        is one that goes with it, `database` is the one that a setting names. Raises
        RehearsalError, DatabaseError."""
        ...

    def remove_scratch(self, *, name: str, folder: Path, database: str | None) -> None:
        """Remove what a process that died has left of one. Idempotent. Raises DatabaseError."""
        ...
