"""Many rows inserted into a table of ours at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import StatementError
from sqlalchemy.types import TypeEngine

_Process = Callable[[Sequence[Any]], Sequence[Any]]
_JSON = frozenset((dict, list, str, int, float, bool, type(None)))


class Loader:
    """INSERTs rows that are given by column: a mapping from the name of each to its values.

    SQLAlchemy works out the parameters of each row separately, which takes longer than the database
    needs for the row. Here the statement and the types' processors are worked out once.
    """

    def __init__(self, connection: sa.Connection, table: sa.Table) -> None:
        dialect = connection.dialect
        self._connection = connection
        # Not the table itself: some databases would be asked to return its primary key.
        columns: list[Any] = [sa.column(each.name, each.type) for each in table.columns]
        self._insert = sa.insert(sa.table(table.name, *columns, schema=table.schema))
        types = {each.name: each.type.dialect_impl(dialect) for each in table.columns}
        self._by_core = (
            # psycopg2 sends rows one by one, where SQLAlchemy puts many into one statement.
            dialect.use_insertmanyvalues_wo_returning
            # A type's own SQL around its parameter decides what becomes of the value.
            or any(map(_has_bind_expression, types.values()))
        )
        if self._by_core:
            return
        compiled = self._insert.compile(dialect=dialect, column_keys=list(types))
        self._statement = str(compiled)
        self._by_name = compiled.positiontup is None
        self._values = [
            (name, _processor(types[name], dialect)) for name in compiled.positiontup or types
        ]

    def __call__(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Insert the rows, one at least. Raises SQLAlchemyError, StatementError for a value that a
        column's type refuses."""
        if self._by_core:
            self._connection.execute(self._insert, _rows(columns))
            return
        try:
            values = {
                name: columns[name] if of is None else of(columns[name])
                for name, of in self._values
            }
        except Exception as error:
            # A host's type may raise anything.
            problem = f"a value does not fit its column's type ({type(error).__name__})"
            raise StatementError(problem, None, None, error, hide_parameters=True) from error
        parameters: Any = (
            _rows(values) if self._by_name else list(zip(*values.values(), strict=True))
        )
        self._connection.exec_driver_sql(self._statement, parameters)


def _rows(columns: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    rows = zip(*columns.values(), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _processor(type_: TypeEngine[Any], dialect: sa.Dialect) -> _Process | None:
    """What makes parameters of the values of a type; None where they are."""
    of = type_.bind_processor(dialect)
    if of is None:
        return None
    is_plain_json = (
        # All others have a way of their own.
        getattr(type(type_), "bind_processor", None) is sa.JSON.bind_processor
        and getattr(dialect, "_json_serializer", of) is None
        and of([]) == "[]"
    )
    return partial(_json_texts, of) if is_plain_json else partial(_one_by_one, of)


def _one_by_one(of: Callable[[Any], Any], values: Sequence[Any]) -> Sequence[Any]:
    return list(map(of, values))


def _json_texts(of: Callable[[Any], Any], values: Sequence[Any]) -> Sequence[Any]:
    """What `json.dumps` makes of each value, which `of` calls, but for null: for one it takes
    longer to begin than to write it. What parts them no archive can have, and neither can a text
    that is written as JSON."""
    if _JSON.issuperset(map(type, values)):
        parted: list[Any] = ["\0"] * (2 * len(values) - 1)
        parted[::2] = values
        texts = json.dumps(parted)[1:-1].split(', "\\u0000", ')
        if len(texts) == len(values):
            null = of(None) if None in values else "null"
            if null == "null":
                return texts
            return [
                null if value is None else text for value, text in zip(values, texts, strict=True)
            ]
    return _one_by_one(of, values)


def _has_bind_expression(type_: TypeEngine[Any]) -> bool:
    return type_.bind_expression(sa.bindparam("value", type_=type_)) is not None
