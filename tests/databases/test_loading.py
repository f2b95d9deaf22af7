"""Rows that are loaded many at a time are those that SQLAlchemy inserts one by one."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from hexhub_backup.databases.loading import Loader

VALUES: list[Any] = [
    *({}, [], None, True, 1, 1.5, "text", {"b": [1, None], "a": {"c": "ü"}}),
    *(', "\\u0000", ', {"a": '", "'}, ["\\", '", "\\u0000", "'], "😀", 10**30),
]
ODD: list[list[Any]] = [
    ["\0"],
    [[1, "\0", 2], 3],
    ["a", "\0", {}],
    [["\0", 1], "\0"],
    [sa.null(), sa.JSON.NULL, 1],
]


@pytest.mark.parametrize("none_as_null", [False, True])
@pytest.mark.parametrize("values", [VALUES, VALUES[:1], *ODD])
def test_json_is_written_as_by_sqlalchemy(values: list[Any], none_as_null: bool) -> None:
    columns = sa.Column("n", sa.Integer), sa.Column("value", sa.JSON(none_as_null=none_as_null))
    table = sa.Table("t", sa.MetaData(), *columns)
    text = sa.select(sa.cast(table.c.value, sa.Text)).order_by(table.c.n)
    with sa.create_engine("sqlite://").connect() as connection:
        table.create(connection)
        for n, value in enumerate(values):
            connection.execute(sa.insert(table), {"n": n, "value": value})
        expected = connection.execute(text).scalars().all()
        connection.execute(sa.delete(table))
        Loader(connection, table)({"n": range(len(values)), "value": values})
        assert connection.execute(text).scalars().all() == expected
