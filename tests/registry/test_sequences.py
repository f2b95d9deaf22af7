"""The next row of the host's own gets a number that a restore has not brought with it."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase

from hexhub_backup.archive.records import Record
from hexhub_backup.registry.mapping.model_map import ModelMap
from hexhub_backup.registry.sqlalchemy import SQLAlchemyRegistry
from tests.support.registries import NewEngine, compare, host_of, overwrites, records_of, restore


def new_base() -> type[DeclarativeBase]:
    class Bare(DeclarativeBase):
        pass

    return Bare


def number(*more: Any, **options: Any) -> sa.Column[Any]:
    return sa.Column("Id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), *more, **options)


def users(*numbers: int) -> list[Record]:
    return [{"username": f"u{each}", "Id": each} for each in numbers]


def next_number(engine: sa.Engine) -> int:
    """What the host's own insert gets."""
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO u (username) VALUES ('own')")
        found = connection.exec_driver_sql("SELECT \"Id\" FROM u WHERE username = 'own'")
        return int(found.scalar_one())


def sequence_host(
    new_engine: NewEngine, column: sa.Column[Any], *before: str
) -> tuple[sa.Engine, SQLAlchemyRegistry]:
    base = new_base()

    @sa.event.listens_for(base.metadata, "before_create")
    def _before(_target: Any, connection: sa.Connection, **_options: Any) -> None:
        for sql in before:
            connection.exec_driver_sql(sql)

    return host_of(new_engine, base, column, extra=["Id"])


OWN = 'CREATE SEQUENCE "Numbers" INCREMENT BY {} MINVALUE {} START WITH {}'
CALLED = sa.text("nextval('\"Numbers\"')")


@pytest.mark.sample
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    ("column", "before", "brought", "then"),
    [
        (lambda: number(sa.Identity(), unique=True), (), (7, 41, 3), 42),
        (lambda: number(sa.Identity(always=True), unique=True), (), (7, 41, 3), 42),
        (lambda: number(server_default=CALLED), (OWN.format(1, 1, 1),), (41,), 42),
        # Never backward, and not where nothing would collide.
        (lambda: number(server_default=CALLED), (OWN.format(1, 1, 100),), (41,), 100),
        # In its own steps: another server has the even ones.
        (lambda: number(server_default=CALLED), (OWN.format(2, 1, 1),), (41, 46), 47),
        (lambda: number(server_default=CALLED), (OWN.format(-1, -1000, -1),), (-5, -9, 8), -10),
        (lambda: number(sa.Identity(maxvalue=50), unique=True), (), (7, 1000), 8),
    ],
)
def test_a_sequence_goes_on_behind_what_came_in(
    new_engine: NewEngine,
    column: Any,
    before: tuple[str, ...],
    brought: tuple[int, ...],
    then: int,
) -> None:
    engine, registry = sequence_host(new_engine, column(), *before)
    restore(registry, {"users": users(*brought)})
    assert [each["Id"] for each in records_of(registry)["users"]] == sorted(
        brought, key=lambda each: f"u{each}"
    )
    assert next_number(engine) == then


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_sequence_of_the_models_own_goes_on_too(new_engine: NewEngine) -> None:
    base = new_base()
    numbers = sa.Sequence("Own Numbers", metadata=base.metadata)
    engine, registry = host_of(new_engine, base, number(numbers, unique=True), extra=["Id"])
    restore(registry, {"users": users(41)})
    with engine.begin() as connection:
        assert connection.execute(sa.select(numbers.next_value())).scalar_one() == 42


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_an_overwritten_number_moves_the_sequence_on(new_engine: NewEngine) -> None:
    engine, registry = sequence_host(new_engine, number(server_default=CALLED), OWN.format(1, 1, 1))
    restore(registry, {"users": [{"username": "ann", "Id": 1}]})
    restore(registry, {"users": [{"username": "ann", "Id": 41}]}, overwrites)
    assert next_number(engine) == 42


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_column_that_only_the_database_fills_is_written_once(new_engine: NewEngine) -> None:
    _, registry = sequence_host(new_engine, number(sa.Identity(always=True)))
    restore(registry, {"users": users(7)})
    (found,) = compare(registry, {"users": [{"username": "u7", "Id": 8}]})["users"]
    assert found.state == "unchanged"


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_what_is_always_filled_in_the_database_alone_is_written_too(
    new_engine: NewEngine,
) -> None:
    engine, registry = sequence_host(new_engine, number(nullable=False))
    with engine.begin() as connection:
        connection.exec_driver_sql(
            'ALTER TABLE u ALTER "Id" ADD GENERATED ALWAYS AS IDENTITY (START WITH 5)'
        )
    restore(registry, {"users": users(7, 41)})
    assert next_number(engine) == 42


@pytest.mark.parametrize("autoincrement", [True, False])
def test_a_primary_key_goes_on(new_engine: NewEngine, autoincrement: bool) -> None:
    base = new_base()
    table = sa.Table(
        "numbered",
        base.metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("username", sa.String, unique=True, nullable=False),
        sqlite_autoincrement=autoincrement,
    )
    engine, _ = host_of(new_engine, base)
    registry = SQLAlchemyRegistry(
        engine,
        users=ModelMap(table, extra=["id"]),
        packages=ModelMap(base.metadata.tables["p"]),
        releases=ModelMap(base.metadata.tables["r"]),
        owners=ModelMap(base.metadata.tables["o"]),
    )
    restore(registry, {"users": [{"username": "ann", "id": 41}]})
    with engine.begin() as connection:
        if autoincrement:
            # It gives no number twice, also none of a row that is gone.
            connection.execute(sa.delete(table))
        connection.exec_driver_sql("INSERT INTO numbered (username) VALUES ('own')")
        found = connection.execute(sa.select(table.c.id).where(table.c.username == "own"))
        assert found.scalar_one() == 42
