"""The adapter for a host's own SQLAlchemy models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from hexhub_backup.archive.records import (
    OWNERS,
    PACKAGES,
    RELEASES,
    USERS,
    Kind,
)
from hexhub_backup.databases.base import Database
from hexhub_backup.databases.connections import connected, refuse_unusable, snapshot
from hexhub_backup.databases.known import database_of
from hexhub_backup.databases.scratch.base import ScratchPlace
from hexhub_backup.databases.scratch.known import scratching_of
from hexhub_backup.errors import MappingError
from hexhub_backup.registry.base import Scratch
from hexhub_backup.registry.comparing.prepared import Prepared
from hexhub_backup.registry.mapping.mapped_kinds import MappedKinds
from hexhub_backup.registry.mapping.model_map import ModelMap
from hexhub_backup.registry.mapping.resolution import resolve
from hexhub_backup.registry.reading.snapshot import SQLAlchemySnapshot
from hexhub_backup.registry.restoration import SQLAlchemyRestoration
from hexhub_backup.registry.scratch import scratch_tables
from hexhub_backup.registry.undoing.undoing import SQLAlchemyUndoing


class SQLAlchemyRegistry:
    """A registry in one SQL database, SQLite (3.33 or newer), PostgreSQL or MariaDB.

    `db` is anything with an `engine`: Flask-SQLAlchemy's extension (looked up on each use, in
    the app's context), or an Engine itself.
    """

    def __init__(
        self,
        db: Any,
        *,
        users: ModelMap,
        packages: ModelMap,
        releases: ModelMap,
        owners: ModelMap,
    ) -> None:
        self._db = db
        self._maps = {
            USERS.name: users,
            PACKAGES.name: packages,
            RELEASES.name: releases,
            OWNERS.name: owners,
        }
        self._usable: sa.Engine | None = None
        self._prepared: dict[tuple[str, Database, bool, bool], Prepared] = {}

    @cached_property
    def kinds(self) -> MappedKinds:
        """The resolved maps by the name of their kind. Raises MappingError."""
        return resolve(self._maps)

    @property
    def engine(self) -> sa.Engine:
        """The engine of the database that holds the four models.

        Raises MappingError for a `db` that has none, and for a database that is not known here;
        RuntimeError where Flask-SQLAlchemy is asked out of an app's context.
        """
        table = self.kinds[USERS.name].table
        key = table.metadata.info.get("bind_key") or table.info.get("bind_key")
        engines = getattr(self._db, "engines", None)
        if engines is None or key is None:
            engine = getattr(self._db, "engine", None)
        else:
            engine = engines.get(key)
        if not isinstance(engine, sa.Engine):
            of_bind = "" if key is None else f" for the bind {key!r}"
            raise MappingError(
                f"The registry's db, a {type(self._db).__name__}, has no engine{of_bind}: give "
                "Flask-SQLAlchemy's db, or an Engine of SQLAlchemy's"
            )
        if engine is not self._usable:
            tables = [mapped.table for mapped in self.kinds.values()]
            if refuse_unusable(engine, tables):
                self._usable = engine
        return engine

    def let_go(self) -> None:
        """Give back the connection that the session of `db` holds, where it has one of either.

        It is committed, so that objects are read again when they are next asked. Not where it
        holds something unsaved: whether that is to stay is the host's to say.
        """
        session = getattr(self._db, "session", None)
        if callable(session):
            session = session()
        if not isinstance(session, Session) or session.new or session.dirty or session.deleted:
            return
        try:
            session.commit()
        except SQLAlchemyError:
            session.rollback()

    def username_of(self, user: object) -> str | None:
        """What the attribute of `user` holds that is mapped as `username`."""
        column = self.kinds[USERS.name].keys[0].column
        name: str | None = column.key
        mapper = sa.inspect(type(user), raiseerr=False)
        if mapper is not None:
            of_users = column.table in mapper.tables
            name = mapper.get_property_by_column(column).key if of_users else None
        username = None if name is None else getattr(user, name, None)
        return None if username is None else str(username)

    def check(self) -> None:
        """Raise MappingError for a mapping, or a database, that can not work. Connects to nothing
        but SQLite in memory."""
        _ = self.kinds
        # Out of an app's context Flask-SQLAlchemy has no engine yet: the first use tells.
        with suppress(RuntimeError):
            _ = self.engine

    def fields(self, kind: Kind) -> frozenset[str]:
        """The fields that have a column here."""
        return frozenset(field.name for field in self.kinds[kind.name].fields)

    def compared(self, kind: Kind) -> frozenset[str]:
        """Those of them that a comparison looks at without a grant; see `base.Registry`."""
        return frozenset(
            field.name
            for field in self.kinds[kind.name].fields
            if not field.volatile and not field.protected
        )

    @contextmanager
    def snapshot(self) -> Iterator[SQLAlchemySnapshot]:
        """Read all four kinds as of one moment. Raises DatabaseError."""
        with snapshot(self.engine) as connection:
            rows = SQLAlchemySnapshot(connection, self.kinds)
            try:
                yield rows
            finally:
                rows.close()

    @contextmanager
    def restoration(
        self, *, protected: bool, actor: str | None, overwrite: bool
    ) -> Iterator[SQLAlchemyRestoration]:
        """Stage, compare and write the records of one archive; see `base.Registry`."""
        with (
            connected(self.engine) as connection,
            self._restoration(
                connection, "in", protected=protected, actor=actor, overwrite=overwrite
            ) as restoration,
        ):
            yield restoration

    @contextmanager
    def undoing(self, *, protected: bool, actor: str | None) -> Iterator[SQLAlchemyUndoing]:
        """Compare, remove and bring back the records of one restore; see `base.Registry`."""
        of: dict[str, Any] = {"protected": protected, "actor": actor, "overwrite": True}
        with (
            connected(self.engine) as connection,
            self._restoration(connection, "left", **of) as left,
            self._restoration(connection, "before", **of) as before,
        ):
            yield SQLAlchemyUndoing(left, before)

    @contextmanager
    def scratch(self, *, name: str, folder: Path, database: str | None) -> Iterator[Scratch]:
        """An empty registry beside this one; see `base.Rehearsable`."""
        place = ScratchPlace(name=name, folder=folder, database=database)
        with scratch_tables(self.engine, self.kinds, place) as copies:
            registry = copy(self)
            registry._db, registry.kinds = copies.engine, copies.kinds
            registry._usable, registry._prepared = None, {}
            yield Scratch(registry, copies.engine_of_models, copies.not_copied)

    def remove_scratch(self, *, name: str, folder: Path, database: str | None) -> None:
        """See `base.Rehearsable`."""
        place = ScratchPlace(name=name, folder=folder, database=database)
        scratching_of(self.engine).remove(self.engine, place)

    @contextmanager
    def _restoration(
        self,
        connection: sa.Connection,
        name: str,
        *,
        protected: bool,
        actor: str | None,
        overwrite: bool,
    ) -> Iterator[SQLAlchemyRestoration]:
        database = database_of(connection)
        key = name, database, protected, overwrite
        if key not in self._prepared:
            self._prepared[key] = Prepared(
                self.kinds, name, database, granted=protected, overwrite=overwrite
            )
        restoration = SQLAlchemyRestoration(connection, self._prepared[key], actor=actor)
        try:
            yield restoration
        finally:
            restoration.close()
