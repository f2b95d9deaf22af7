"""What a decision leaves out of its comparison: what the database itself knows to be unchanged."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import sqlalchemy as sa

from hexhub_backup.archive.records import KINDS, PACKAGES
from hexhub_backup.registry.base import Comparison
from hexhub_backup.registry.mapping.model_map import Field, ModelMap
from hexhub_backup.registry.sqlalchemy import SQLAlchemyRegistry
from tests.support.registries import NewEngine, numbered, restore

TIMES = ["2026-01-31T10:30:00.123456Z", "2026-01-31T10:30:00.123457Z", None]
TEXTS = ["", "a", "A", "a ", "é", "e\u0301", "1", None]
JSON = [{}, {"a": 1}, {"a": 1.0}, {"a": True}, {"a": "A"}, [], [1], True, False, None]
WHOLE: list[Any] = [0, 1, -1, None]


def compared(
    new_engine: NewEngine, type_: Any, values: list[Any], *, paired: bool = False
) -> tuple[list[Comparison], list[Comparison]]:
    """Each value in a row beside each in a record: all of it, and without what is left out."""
    metadata = sa.MetaData()
    own, name = sa.Column("own", type_), sa.String(80)
    packages = sa.Table("p", metadata, sa.Column("name", name, primary_key=True), own)
    keys = {
        kind.name: sa.Table(
            kind.name, metadata, *(sa.Column(each, name, primary_key=True) for each in kind.key)
        )
        for kind in KINDS
        if kind is not PACKAGES
    }
    field = {"own": Field(own, encode=str.lower, decode=str)} if paired else {}
    registry = SQLAlchemyRegistry(
        new_engine(metadata),
        packages=ModelMap(packages, field, extra=["own"]),
        **{kind: ModelMap(table) for kind, table in keys.items()},
    )
    pairs = list(enumerate(itertools.product(values, values)))
    restore(registry, {"packages": [{"name": f"{n}", "own": row} for n, (row, _) in pairs]})
    records = [{"name": f"{n}", "own": record} for n, (_, record) in pairs]
    with registry.restoration(protected=False, actor=None, overwrite=True) as restoration:
        restoration.stage(PACKAGES, numbered(records))
        every = list(restoration.compare(PACKAGES))
        return every, list(restoration.compare(PACKAGES, skip_same=True))


@pytest.mark.parametrize(
    ("type_", "values"),
    [
        (sa.String(20), TEXTS),
        (sa.String(20, collation="NOCASE"), TEXTS),
        (sa.Text(), TEXTS),
        (sa.CHAR(4), ["", "a", "A", "a ", None]),
        (sa.Enum("a", "b", name="own"), ["a", "b", None]),
        (sa.JSON(), JSON),
        (sa.JSON(none_as_null=True), JSON),
        (sa.Integer(), WHOLE),
        (sa.Boolean(), [True, False, None]),
        (sa.DateTime(), TIMES),
        (sa.Date(), ["2026-01-31", "2026-02-01", None]),
    ],
    ids=str,
)
def test_all_that_is_unchanged_is_left_out_and_nothing_else(
    new_engine: NewEngine, type_: Any, values: list[Any]
) -> None:
    every, found = compared(new_engine, type_, values)
    assert len(every) == len(values) ** 2
    assert {each.state for each in every} == {"unchanged", "conflict"}
    # Of JSON in which the same is written otherwise only a codec knows.
    written_otherwise = {
        each.n
        for each, (row, record) in zip(every, itertools.product(values, values), strict=True)
        if each.state == "unchanged" and repr(row) != repr(record)
    }
    assert [each for each in found if each.n not in written_otherwise] == [
        each for each in every if each.state == "conflict"
    ]


@pytest.mark.parametrize(
    ("type_", "values"),
    [
        (sa.JSON(), [1, 1.5, -2, 10**15, "a", "1", ""]),
        (sa.Float(), [0.1, 1.0, -0.0, None]),
        (sa.Numeric(10, 2, asdecimal=True), ["0.10", "1.00", None]),
        (sa.LargeBinary(), [{"$bytes": "AAE="}, {"$bytes": ""}, None]),
    ],
    ids=str,
)
def test_what_only_a_codec_can_compare_is_never_left_out(
    new_engine: NewEngine, type_: Any, values: list[Any]
) -> None:
    every, found = compared(new_engine, type_, values)
    assert found == every


def test_what_a_pair_of_the_hosts_makes_of_values_is_not_the_databases_to_say(
    new_engine: NewEngine,
) -> None:
    every, found = compared(new_engine, sa.String(20), ["a", "A", "b"], paired=True)
    assert found == every
