"""The tables are made by the migrations alone, and an instance of any earlier version goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import inspect, text

from examples.host_app import create_app
from examples.host_app.accounts import end_sessions
from examples.host_app.models import db
from examples.host_app.seed import ADMIN
from hexhub_backup.jobs.backups import backups_of
from tests.support.hosts import make_app, rows
from tests.support.people import sign_in

Schema = dict[str, dict[str, object]]


@pytest.fixture
def config(uri: str | None) -> dict[str, str]:
    return {} if uri is None else {"SQLALCHEMY_DATABASE_URI": uri}


def flask_db(app: Flask, *command: str) -> None:
    result = app.test_cli_runner().invoke(args=["db", *command])
    assert result.exit_code == 0, result.output


def schema() -> Schema:
    """All that the database knows of each of our tables."""
    found = inspect(db.engine)
    return {
        table: {
            "columns": {
                each["name"]: (str(each["type"]), each["nullable"], each["default"])
                for each in found.get_columns(table)
            },
            "indexes": {
                (*each["column_names"], each["unique"]) for each in found.get_indexes(table)
            },
            "unique": {(*each["column_names"],) for each in found.get_unique_constraints(table)},
            "foreign": {
                (*each["constrained_columns"], each["referred_table"], str(each["options"]))
                for each in found.get_foreign_keys(table)
            },
        }
        for table in found.get_table_names()
        if table in db.metadata.tables
    }


@pytest.mark.sample
@pytest.mark.usefixtures("database")
def test_migrations_make_what_the_models_say(tmp_path: Path, config: dict[str, str]) -> None:
    app = create_app(tmp_path / "new", config)
    with app.app_context():
        backups_of(app).prepare(app)
        flask_db(app, "check")
        by_migrations = schema()
        assert by_migrations.keys() == db.metadata.tables.keys()
        db.drop_all()
        db.create_all()
        assert schema() == by_migrations


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("revision", ["0001", "0002"])
def test_an_instance_from_before_there_were_migrations_goes_on(
    tmp_path: Path, config: dict[str, str], revision: str
) -> None:
    folder = tmp_path / "old"
    app = make_app(folder, config)
    with app.app_context():
        before = rows()
        flask_db(app, "downgrade", revision)
        with db.engine.begin() as connection:
            connection.execute(text("DROP TABLE alembic_version"))
    for _ in range(2):
        app = create_app(folder, config)
    with app.app_context():
        flask_db(app, "check")
        assert rows() == before
    client = app.test_client()
    sign_in(client, ADMIN)
    assert "Sign out" in client.get("/").text
    with app.app_context():
        end_sessions([ADMIN])
    assert "Sign out" not in client.get("/").text


def test_the_database_of_a_newer_version_is_left_alone(empty: Flask) -> None:
    with empty.app_context(), db.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SystemExit, match=r"newer version .* 9999"):
        create_app(empty.instance_path)
