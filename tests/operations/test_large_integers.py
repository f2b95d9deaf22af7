"""Integers of any length that an archive takes go through every operation, digit by digit."""

from __future__ import annotations

import json
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from examples.host_app.models import Package, Release, db
from hexhub_backup import verbs
from hexhub_backup.archive.rules.strict_json import MAX_DIGITS
from hexhub_backup.errors import RecordError
from hexhub_backup.jobs.backups import backups_of
from tests.support.archives import LARGE, LARGEST
from tests.support.hosts import ADA, dump, restored

pytestmark = pytest.mark.host(users=3, packages=2, releases=1)


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
    backup = backups.orders.run(app, verbs.create.order(ADA)).operation
    backups.orders.run(app, verbs.verify.order(backups.history, ADA, backup))

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

    backups.orders.run(app, verbs.undo.order(backups.history, ADA, done.operation))
    assert dump(app) == before
    # The other way round: what an undo brings back is as large.
    package.meta = {"of": [value, value]}
    db.session.commit()
    before = dump(app)
    done = restored(app, backup)
    backups.orders.run(app, verbs.undo.order(backups.history, ADA, done.operation))
    assert dump(app) == before


@pytest.mark.usefixtures("database")
def test_large_integers_go_round(host: Flask) -> None:
    _goes_round(host, LARGE)


_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.integers(-LARGEST, LARGEST)
    | st.integers(-(2**65), 2**65)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([*LARGE, None, True, "1" * 30]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=3),
    max_leaves=6,
).filter(lambda value: value != 1)


# Three at a time: what a round costs hangs on its operations, and not on what it carries.
@given(values=st.lists(_VALUES, min_size=3, max_size=3))
@settings(
    max_examples=3,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_json_of_such_integers_goes_round(host: Flask, values: Any) -> None:
    _goes_round(host, values)


@pytest.mark.parametrize("digits", [MAX_DIGITS + 1, 5000])
def test_an_integer_of_more_digits_is_refused_by_name(host: Flask, digits: int) -> None:
    """5,000 are more than Python itself makes a number of."""
    backups = backups_of(host)
    local = sa.select(Package.name).where(Package.source == "local")
    name = db.session.scalars(local).first()
    update = sa.text("UPDATE packages SET meta = :meta WHERE name = :name")
    db.session.execute(update, {"meta": '{"a":' + "9" * digits + "}", "name": name})
    db.session.commit()
    try:
        with pytest.raises(RecordError, match=f"more than {MAX_DIGITS} digits") as caught:
            backups.orders.run(host, verbs.create.order(ADA))
        assert caught.value.faults[0].record == f"package {name}"
        assert caught.value.faults[0].field == "meta"
    finally:
        db.session.execute(update, {"meta": "{}", "name": name})
        db.session.commit()
