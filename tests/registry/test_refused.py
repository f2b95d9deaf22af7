"""The records that a database refuses, by a rule that no plan knows, are found and named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase

from hexhub_backup.archive.records import KINDS, Record
from hexhub_backup.errors import DatabaseError, RefusedError
from hexhub_backup.registry.base import Comparison
from hexhub_backup.registry.deciding import bisection
from hexhub_backup.registry.sqlalchemy import SQLAlchemyRegistry
from tests.support.registries import (
    NewEngine,
    host_of,
    numbered,
    overwrites,
    records_of,
)

POSTGRESQL = pytest.mark.parametrize("database", ["postgresql"], indirect=True)
SQLITE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def host(
    new_engine: NewEngine, *columns: Any, sql: tuple[str, ...] = (), **options: Any
) -> tuple[sa.Engine, SQLAlchemyRegistry]:
    class Bare(DeclarativeBase):
        pass

    engine, registry = host_of(new_engine, Bare, *columns, **options)
    with engine.begin() as connection:
        for each in sql:
            connection.execute(sa.text(each.replace(":", r"\:")))
    return engine, registry


Refused = Mapping[str, Mapping[int, str]]


def planned_without(
    registry: SQLAlchemyRegistry, records: dict[str, list[Record]], refused: Refused
) -> dict[str, list[Comparison]]:
    with registry.restoration(protected=False, actor=None, overwrite=True) as restoration:
        found = {}
        for kind in KINDS:
            rows = numbered(records.get(kind.name, []))
            restoration.stage(kind, rows, refused.get(kind.name, {}))
            found[kind.name] = list(restoration.compare(kind))
    return found


def write_all(
    registry: SQLAlchemyRegistry, records: dict[str, list[Record]], refused: Refused | None = None
) -> None:
    """As a restore does it, with the strategy overwrite, and without what was refused before."""
    refused = refused or {}
    planned = planned_without(registry, records, refused)
    with registry.restoration(protected=False, actor=None, overwrite=True) as restoration:
        for kind in KINDS:
            rows = zip(numbered(records.get(kind.name, [])), planned[kind.name], strict=True)
            restoration.stage(
                kind,
                [(n, record, overwrites(plan)) for (n, record, _), plan in rows],
                refused.get(kind.name, {}),
            )
        with restoration.decision():
            for kind in KINDS:
                assert list(restoration.compare(kind)) == planned[kind.name]
            restoration.write_all()


def refusal(registry: SQLAlchemyRegistry, records: dict[str, list[Record]]) -> RefusedError:
    before = records_of(registry)
    with pytest.raises(RefusedError) as caught:
        write_all(registry, records)
    assert records_of(registry) == before
    return caught.value


def users(*emails: str) -> list[Record]:
    return [{"username": f"u{at:05}", "email": email} for at, email in enumerate(emails, 1)]


def no_bad() -> sa.CheckConstraint:
    return sa.CheckConstraint("email <> 'bad'", name="no_bad")


def test_a_check_refuses_new_rows_and_old_ones(new_engine: NewEngine) -> None:
    _, registry = host(new_engine, sa.Column("email", sa.String), no_bad())
    write_all(registry, {"users": users("a@x", "b@x")})
    found = refusal(registry, {"users": users("c@x", "bad", "d@x", "bad", "e@x")})
    assert str(found).startswith("The database refuses 2 records of the archive: nothing was")
    assert [each.record for each in found.faults] == ["user u00002", "user u00004"]
    assert {each.code for each in found.faults} == {"refused"}
    assert all("no_bad" in each.message for each in found.faults)
    assert set(found.records["users"]) == {2, 4}


@pytest.mark.sample
def test_what_is_refused_takes_its_children_with_it_and_no_other(new_engine: NewEngine) -> None:
    _, registry = host(new_engine, sa.Column("email", sa.String), no_bad())
    records: dict[str, list[Record]] = {
        "users": users("a@x", "bad"),
        "packages": [{"name": "jason"}],
        "owners": [{"package_name": "jason", "username": f"u0000{at}"} for at in (1, 2)],
    }
    found = refusal(registry, records)
    assert [each.record for each in found.faults] == ["user u00002"]
    # The rest can be restored without it, and the plan says why it is left out.
    planned = planned_without(registry, records, found.records)
    assert [each.state for each in planned["users"]] == ["create", "blocked"]
    assert "the database refuses it: " in str(planned["users"][1].reason)
    assert "its user u00002 can't be restored" in str(planned["owners"][1].reason)
    write_all(registry, records, found.records)
    assert [each["username"] for each in records_of(registry)["owners"]] == ["u00001"]


def test_several_rules_at_a_time_and_of_several_kinds(new_engine: NewEngine) -> None:
    _, registry = host(
        new_engine,
        sa.Column("email", sa.String),
        sa.Column("age", sa.Integer),
        no_bad(),
        sa.CheckConstraint("age < 200", name="mortal"),
        extra=["age"],
    )
    archived = users("a@x", "bad", "c@x", "d@x")
    archived[3]["age"] = 900
    found = refusal(registry, {"users": archived})
    assert [each.record for each in found.faults] == ["user u00002", "user u00004"]
    assert "no_bad" in found.faults[0].message
    assert "mortal" in found.faults[1].message


TRIGGER = {
    "sqlite": (
        "CREATE TRIGGER t BEFORE {what} ON u WHEN NEW.email = 'bad' "
        "BEGIN SELECT RAISE({how}, 'secret'); END",
    ),
    "mysql": (
        "CREATE TRIGGER t BEFORE {what} ON u FOR EACH ROW "
        "BEGIN IF NEW.email = 'bad' THEN {how}; END IF; END",
    ),
    "postgresql": (
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN IF NEW.email = 'bad' THEN {how}; END IF; RETURN NEW; END$$",
        "CREATE TRIGGER t BEFORE {what} ON u FOR EACH ROW EXECUTE FUNCTION f()",
    ),
}


@pytest.mark.sample
@pytest.mark.parametrize(
    "raises",
    [
        True,
        pytest.param(
            False, marks=pytest.mark.gap(mariadb="no trigger keeps a row without an error")
        ),
    ],
)
def test_a_trigger_that_raises_and_one_that_keeps_quiet(
    new_engine: NewEngine,
    raises: bool,
) -> None:
    engine, registry = host(new_engine, sa.Column("email", sa.String))
    write_all(registry, {"users": users("a@x", "b@x", "c@x")})
    name = engine.dialect.name
    how = {
        ("sqlite", True): "ABORT",
        ("sqlite", False): "IGNORE",
        ("mysql", True): "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = NEW.email",
        ("postgresql", True): "RAISE EXCEPTION 'secret %', NEW.email",
        ("postgresql", False): "RETURN NULL",
    }[name, raises].replace("IGNORE, 'secret'", "IGNORE")
    with engine.begin() as connection:
        for sql in TRIGGER[name]:
            for what in ("UPDATE", "INSERT") if "TRIGGER" in sql else ("",):
                said = sql.format(what=what, how=how).replace("(IGNORE, 'secret')", "(IGNORE)")
                said = said.replace("TRIGGER t", f"TRIGGER t_{what}")
                connection.execute(sa.text(said))
    found = refusal(registry, {"users": users("z@x", "bad", "y@x", "bad")})
    assert [each.record for each in found.faults] == ["user u00002", "user u00004"]
    assert "trigger" in found.faults[0].message
    assert "secret" not in repr(found.faults)


@POSTGRESQL
def test_what_is_looked_at_on_commit_is_found_before(new_engine: NewEngine) -> None:
    _, registry = host(
        new_engine,
        sa.Column("email", sa.String),
        sql=(
            "CREATE TABLE mails (email text PRIMARY KEY)",
            "INSERT INTO mails VALUES ('a@x'), ('c@x')",
            "ALTER TABLE u ADD CONSTRAINT known FOREIGN KEY (email) REFERENCES mails "
            "DEFERRABLE INITIALLY DEFERRED",
        ),
    )
    found = refusal(registry, {"users": users("a@x", "b@x", "c@x")})
    assert [each.record for each in found.faults] == ["user u00002"]
    assert "constraint known" in found.faults[0].message


@POSTGRESQL
def test_what_has_to_hold_in_the_end_only_is_not_looked_at_before(new_engine: NewEngine) -> None:
    _, registry = host(
        new_engine,
        sa.Column("email", sa.String),
        sql=(
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN IF NOT EXISTS "
            "(SELECT FROM r WHERE package_name = NEW.name) THEN RAISE 'no'; END IF; "
            "RETURN NULL; END$$",
            "CREATE CONSTRAINT TRIGGER released AFTER INSERT ON p DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION f()",
        ),
    )
    records: dict[str, list[Record]] = {
        "packages": [{"name": "jason"}],
        "releases": [{"package_name": "jason", "version": "1"}],
    }
    write_all(registry, records)
    assert records_of(registry)["releases"]


@POSTGRESQL
def test_two_records_that_exclude_one_another(new_engine: NewEngine) -> None:
    _, registry = host(
        new_engine,
        sa.Column("email", sa.String),
        sql=(
            "ALTER TABLE u ADD CONSTRAINT apart EXCLUDE USING gist "
            "(int4range(length(email), length(email) + 2) WITH &&)",
        ),
    )
    found = refusal(registry, {"users": users("1", "22", "333", "4444")})
    assert [each.record for each in found.faults] == ["user u00002", "user u00004"]
    assert "constraint apart" in found.faults[0].message


@POSTGRESQL
def test_a_domain_is_known_before(new_engine: NewEngine) -> None:
    _, registry = host(
        new_engine,
        sa.Column("email", sa.String),
        sql=(
            "CREATE DOMAIN mail AS text CONSTRAINT like_mail CHECK (VALUE LIKE '%@%')",
            "ALTER TABLE u ALTER email TYPE mail",
        ),
    )
    found = refusal(registry, {"users": users("a@x", "b", "c@x")})
    assert [each.record for each in found.faults] == ["user u00002"]
    assert "like_mail" in found.faults[0].message


def test_few_statements_find_few_of_many(new_engine: NewEngine) -> None:
    _, registry = host(new_engine, sa.Column("email", sa.String), no_bad())
    emails = ["a@x"] * 4000
    emails[1234] = emails[1235] = emails[3999] = "bad"
    statements: list[str] = []

    @sa.event.listens_for(sa.Engine, "before_cursor_execute")
    def count(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        statements.append(statement)

    try:
        found = refusal(registry, {"users": users(*emails)})
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", count)
    assert set(found.records["users"]) == {1235, 1236, 4000}
    # Three of 4,000: each half costs a handful, and 2 · 3 · log2(4000) halves are tried at most.
    assert sum("INSERT INTO u " in each for each in statements) < 80


def test_very_many_are_told_by_the_first(
    new_engine: NewEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bisection, "MOST", 110)
    _, registry = host(new_engine, sa.Column("email", sa.String), no_bad())
    found = refusal(registry, {"users": users(*["bad"] * 120)})
    assert "The database refuses 110 or more records" in str(found)
    assert len(found.faults) == 100
    assert len(found.records["users"]) == 110


def test_what_is_wrong_with_the_statement_blames_no_record(new_engine: NewEngine) -> None:
    engine, registry = host(new_engine, sa.Column("email", sa.String))
    records = {"users": users("a@x", "b@x")}
    with registry.restoration(protected=False, actor=None, overwrite=True) as restoration:
        for kind in KINDS:
            rows = numbered(records.get(kind.name, []))
            restoration.stage(kind, [(n, record, "create") for n, record, _ in rows])
        with engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE u RENAME COLUMN email TO mail")
        with (
            pytest.raises(DatabaseError, match="can not be written") as caught,
            restoration.decision(),
        ):
            restoration.write_all()
    assert not isinstance(caught.value, RefusedError)
