"""Integers of any length that an archive takes go through every operation, digit by digit."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase

from examples.host_app import create_app
from examples.host_app.models import Package, Release, db
from examples.host_app.seed import seed
from hexhub_backup.archive.jsonrows import MAX_DIGITS
from hexhub_backup.errors import RecordError
from tests.conftest import NewDatabase
from tests.engine.hosts import ADA, backups_of, restored
from tests.engine.test_undo import dump
from tests.registry.conftest import new_engine  # noqa: F401 (a fixture)
from tests.registry.hosts import NewEngine, compare, host_of, overwrites, records_of, restore

LARGEST = 10**MAX_DIGITS - 1
#: Each beside the limit of something: of 64 bits, of a float, of the reader.
LARGE = [2**63, -(2**63) - 1, 2**64, 2**53 + 1, 10**22, 10**309, LARGEST, -LARGEST]


@contextmanager
def _host(path: Path, uri: str | None) -> Iterator[Flask]:
    app = create_app(path, {} if uri is None else {"SQLALCHEMY_DATABASE_URI": uri})
    with app.app_context():
        seed(users=3, packages=2, releases=1, file_size=0)
        backups_of(app).prepare(app)
        yield app
        db.session.remove()
        db.engine.dispose()


@pytest.fixture(scope="module")
def sqlite_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    with _host(tmp_path_factory.mktemp("large") / "host", None) as app:
        yield app


def _texts(column: sa.orm.attributes.InstrumentedAttribute[Any]) -> list[str]:
    """What the database itself keeps of it."""
    rows = db.session.scalars(sa.select(sa.cast(column, sa.Text)).order_by(column.class_.id))
    return [json.dumps(json.loads(text or "null"), sort_keys=True) for text in rows]


def _goes_round(app: Flask, value: Any) -> None:
    """Create, verify, plan, restore, plan again and undo: the host's rows are as they should be."""
    backups = backups_of(app)
    package = db.session.scalars(sa.select(Package).where(Package.source == "local")).first()
    assert package is not None
    release = package.releases[0]
    package.meta = {"of": value}
    release.meta, release.requirements, release.retired = {"c": value}, {"a": {"b": value}}, [value]
    db.session.commit()
    columns = [Package.meta, Release.meta, Release.requirements, Release.retired]
    full = [_texts(column) for column in columns]
    backup = backups.run(backups.create(app, ADA)).operation
    backups.run(backups.verify(app, ADA, backup))

    package.meta = {"of": 1}
    release.meta, release.requirements, release.retired = {"c": 1}, {"a": 1}, None
    db.session.commit()
    before = dump(app)
    done = restored(app, backup)
    assert done.outcome["records"]["packages"]["overwritten"] == 1
    assert done.outcome["records"]["releases"]["overwritten"] == 1
    assert [_texts(column) for column in columns] == full
    again = restored(app, backup)
    assert again.outcome["records"]["packages"]["unchanged"] == 2
    assert again.outcome["records"]["releases"]["unchanged"] == 2

    backups.run(backups.undo(app, ADA, done.operation))
    assert dump(app) == before
    # The other way round: what an undo brings back is as large.
    package.meta = {"of": [value, value]}
    db.session.commit()
    before = dump(app)
    done = restored(app, backup)
    backups.run(backups.undo(app, ADA, done.operation))
    assert dump(app) == before


def test_large_integers_go_round(database: NewDatabase, tmp_path: Path) -> None:
    with _host(tmp_path / "host", database()) as app:
        _goes_round(app, LARGE)


_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.integers(-LARGEST, LARGEST)
    | st.integers(-(2**65), 2**65)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([*LARGE, None, True, "1" * 30]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=3),
    max_leaves=6,
).filter(lambda value: value != 1)


@given(value=_VALUES)
@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_json_of_such_integers_goes_round(sqlite_host: Flask, value: Any) -> None:
    _goes_round(sqlite_host, value)


def _fresh() -> type[DeclarativeBase]:
    return type("Fresh", (DeclarativeBase,), {})


def _users(*values: Any) -> dict[str, list[dict[str, Any]]]:
    return {"users": [{"username": f"u{n}", "own": each} for n, each in enumerate(values)]}


def test_the_binary_json_of_postgresql_keeps_each_digit(new_engine: NewEngine) -> None:  # noqa: F811
    column = sa.Column("own", sa.JSON().with_variant(JSONB(), "postgresql"))
    _, registry = host_of(new_engine, _fresh(), column, extra=["own"])
    records = _users([*LARGE, 1e22], {"a": LARGEST})
    restore(registry, records)
    # A float that is a whole number comes back as an integer of the same value.
    assert records_of(registry)["users"] == records["users"]
    assert {found.state for found in compare(registry, records)["users"]} == {"unchanged"}


def test_an_integer_that_the_column_would_round_is_blocked(
    new_engine: NewEngine,  # noqa: F811
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
    ("type_", "bits"), [(sa.Integer, {"postgresql": 32, "sqlite": 64}), (sa.BigInteger, {})]
)
def test_a_column_of_integers_keeps_its_range(
    new_engine: NewEngine,  # noqa: F811
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


@pytest.mark.parametrize("digits", [MAX_DIGITS + 1, 5000])
def test_an_integer_of_more_digits_is_refused_by_name(sqlite_host: Flask, digits: int) -> None:
    """5,000 are more than Python itself makes a number of."""
    backups = backups_of(sqlite_host)
    local = sa.select(Package.name).where(Package.source == "local")
    name = db.session.scalars(local).first()
    update = sa.text("UPDATE packages SET meta = :meta WHERE name = :name")
    db.session.execute(update, {"meta": '{"a":' + "9" * digits + "}", "name": name})
    db.session.commit()
    try:
        with pytest.raises(RecordError, match=f"more than {MAX_DIGITS} digits") as caught:
            backups.run(backups.create(sqlite_host, ADA))
        assert caught.value.faults[0].record == f"package {name}"
        assert caught.value.faults[0].field == "meta"
    finally:
        db.session.execute(update, {"meta": "{}", "name": name})
        db.session.commit()
