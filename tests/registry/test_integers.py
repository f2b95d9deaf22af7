"""Columns of JSON keep each digit of an integer, and columns of integers their range."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase

from tests.support.archives import LARGE, LARGEST
from tests.support.registries import NewEngine, compare, host_of, overwrites, records_of, restore


def _fresh() -> type[DeclarativeBase]:
    return type("Fresh", (DeclarativeBase,), {})


def _users(*values: Any) -> dict[str, list[dict[str, Any]]]:
    return {"users": [{"username": f"u{n}", "own": each} for n, each in enumerate(values)]}


@pytest.mark.sample
def test_the_binary_json_of_postgresql_keeps_each_digit(new_engine: NewEngine) -> None:
    column = sa.Column("own", sa.JSON().with_variant(JSONB(), "postgresql"))
    _, registry = host_of(new_engine, _fresh(), column, extra=["own"])
    records = _users([*LARGE, 1e22], {"a": LARGEST})
    restore(registry, records)
    # A float that is a whole number comes back as an integer of the same value.
    assert records_of(registry)["users"] == records["users"]
    assert {found.state for found in compare(registry, records)["users"]} == {"unchanged"}


def test_an_integer_that_the_column_would_round_is_blocked(
    new_engine: NewEngine,
) -> None:
    """Of JSON that is a number and nothing else, SQLite makes a number of its own."""
    engine, registry = host_of(new_engine, _fresh(), sa.Column("own", sa.JSON), extra=["own"])
    records = _users(2**63 - 1, -(2**63), 2**63, -(2**63) - 1, LARGEST)
    found = compare(registry, records)["users"]
    if engine.dialect.name == "sqlite":
        assert [each.state for each in found] == ["create"] * 2 + ["blocked"] * 3
        assert "its own is an integer of more than 64 bits" in str(found[2].reason)
        records = {"users": records["users"][:2]}
    restore(registry, records)
    assert records_of(registry)["users"] == records["users"]


@pytest.mark.parametrize(
    ("type_", "bits"),
    [(sa.Integer, {"postgresql": 32, "mysql": 32, "sqlite": 64}), (sa.BigInteger, {})],
)
def test_a_column_of_integers_keeps_its_range(
    new_engine: NewEngine,
    type_: Callable[[], sa.types.TypeEngine[int]],
    bits: dict[str, int],
) -> None:
    engine, registry = host_of(new_engine, _fresh(), sa.Column("own", type_()), extra=["own"])
    width = bits.get(engine.dialect.name, 64)
    limit = 1 << (width - 1)
    records = _users(limit - 1, -limit, limit, -limit - 1, LARGEST)
    found = compare(registry, records)["users"]
    assert [each.state for each in found] == ["create"] * 2 + ["blocked"] * 3
    for each in found[2:]:
        assert str(each.reason).startswith(f"its own is out of the column's range of {width} bits")
    restore(registry, {"users": records["users"][:2]}, overwrites)
    assert records_of(registry)["users"] == records["users"][:2]
