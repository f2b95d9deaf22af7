"""SQLAlchemyRegistry, held to what the product asks of a registry."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from hexhub_backup.archive.records import Kind, Record
from hexhub_backup.registry.base import Registry
from hexhub_backup.testing.registries.comparing import ComparingConformance
from hexhub_backup.testing.registries.deciding import DecidingConformance
from hexhub_backup.testing.registries.host import NewRegistry, RegistryHost
from hexhub_backup.testing.registries.reading import ReadingConformance
from hexhub_backup.testing.registries.undoing import UndoingConformance
from tests.support.registries import Base, NewEngine, Owner, Package, Release, User, usual_registry


class SQLAlchemyHost(RegistryHost):
    right: ClassVar[Mapping[str, Any]] = {"is_admin": True}

    @pytest.fixture
    def new_registry(self, new_engine: NewEngine) -> NewRegistry:
        return lambda: usual_registry(new_engine(Base.metadata))

    def store(self, registry: Registry, kind: Kind, record: Record) -> None:
        with Session(registry.engine) as session, session.begin():
            model, named = row_of(session, kind, record)
            row = session.scalar(sa.select(model).filter_by(**named)) or model(**named)
            for name, value in record.items():
                if name not in kind.key and name in model.__table__.columns:
                    is_time = kind.fields.get(name) == "time" and value is not None
                    setattr(row, name, time_of(value) if is_time else value)
            session.add(row)

    def delete(self, registry: Registry, kind: Kind, record: Record) -> None:
        with Session(registry.engine) as session, session.begin():
            model, named = row_of(session, kind, record)
            session.delete(session.scalars(sa.select(model).filter_by(**named)).one())


class TestReading(SQLAlchemyHost, ReadingConformance):
    """With those below it is all of `RegistryConformance`."""


class TestComparing(SQLAlchemyHost, ComparingConformance):
    pass


@pytest.mark.sample
class TestDeciding(SQLAlchemyHost, DecidingConformance):
    pass


@pytest.mark.sample
class TestUndoing(SQLAlchemyHost, UndoingConformance):
    pass


def row_of(session: Session, kind: Kind, record: Record) -> tuple[type[Base], dict[str, Any]]:
    """The model of a kind, and the columns by which the row of a record is known."""
    models: dict[str, type[Base]] = {
        "users": User,
        "packages": Package,
        "releases": Release,
        "owners": Owner,
    }
    named = {name: record[name] for name in kind.key}
    if kind.name in ("releases", "owners"):
        select = sa.select(Package.id).where(Package.name == named.pop("package_name"))
        named["package_id"] = session.scalars(select).one()
    if kind.name == "owners":
        select = sa.select(User.id).where(User.username == named.pop("username"))
        named["user_id"] = session.scalars(select).one()
    return models[kind.name], named


def time_of(text: str) -> dt.datetime:
    return dt.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ")  # noqa: DTZ007
