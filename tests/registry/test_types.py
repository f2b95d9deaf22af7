"""Column types of a host's own, whose values go a way that is quicker than SQLAlchemy's."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator

from hexhub_backup.registry.base import Comparison
from tests.support.registries import NewEngine, compare, host_of

pytestmark = pytest.mark.sample


class Replaced(TypeDecorator[str]):
    """SQL with a parameter of its own around the value."""

    impl = sa.String(80)
    cache_ok = True

    def bind_expression(self, bindparam: Any) -> Any:
        return sa.func.replace(bindparam, "x", "y")


class Marked(TypeDecorator[str]):
    """SQL that bypasses the type's own processing, as in SQLAlchemy's recipe for PGP."""

    impl = sa.String(80)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> Any:
        return value and value + "!"

    def bind_expression(self, bindparam: Any) -> Any:
        return sa.func.upper(sa.type_coerce(bindparam, sa.String(80)))


class Picky(TypeDecorator[str]):
    """Raises what no library would."""

    impl = sa.String(80)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> Any:
        assert not value.startswith("bad"), value
        return value


def compared(new_engine: NewEngine, type_: Any, stored: Any, archived: Any) -> Comparison:
    """A user of whom the registry and the archive hold something in a column of a type."""

    class Base(DeclarativeBase):
        pass

    column = sa.Column("level", type_)
    engine, registry = host_of(new_engine, Base, column, extra=["level"])
    with engine.begin() as connection:
        connection.execute(sa.insert(column.table), {"username": "ann", "level": stored})
    (found,) = compare(registry, {"users": [{"username": "ann", "level": archived}]})["users"]
    return found


@pytest.mark.parametrize("type_", [Replaced(), Marked()])
def test_sql_around_a_value_counts(new_engine: NewEngine, type_: Any) -> None:
    assert compared(new_engine, type_, "ax", "ax").state == "unchanged"
    assert compared(new_engine, type_, "ax", "bx").differs == ("level",)


def test_a_type_that_raises_anything_blocks_the_record(new_engine: NewEngine) -> None:
    assert compared(new_engine, Picky(), "good", "good").state == "unchanged"
    found = compared(new_engine, Picky(), "good", "bad and secret")
    assert found.state == "blocked"
    assert "the database refuses its level" in str(found.reason)
    assert "secret" not in str(found.reason)


@pytest.mark.parametrize(
    ("stored", "archived", "state"),
    [
        ({"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}, "unchanged"),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, "unchanged"),
        ({"a": 1}, {"a": True}, "conflict"),
        ([1], [2], "conflict"),
        # SQLite keeps these as numbers, and says fifteen digits of one as a text.
        (0.1234567890123456, 0.1234567890123456, "unchanged"),
        (0.1234567890123456, 0.1234567890123457, "conflict"),
        ("1", 1, "conflict"),
        (None, {}, "conflict"),
        (None, None, "unchanged"),
    ],
)
def test_json_is_the_same_by_its_value(
    new_engine: NewEngine, stored: Any, archived: Any, state: str
) -> None:
    assert compared(new_engine, sa.JSON(), stored, archived).state == state
