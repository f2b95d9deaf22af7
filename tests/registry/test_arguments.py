"""What `init_app` is given by mistake is refused there, and says what to give instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Blueprint, Flask

from hexhub_backup import HexHubBackup, LocalStorage
from hexhub_backup.errors import SettingError
from tests.support.registries import usual_registry


class Incomplete:
    """As the registry of a host that has forgotten half of it. A property is not asked."""

    @property
    def engine(self) -> sa.Engine:
        raise RuntimeError("working outside of application context")

    restoration = undoing = print


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"registry": None}, r"registry= is None, not a registry: give a SQLAlchemyRegistry\(db"),
        (
            {"storage": "/srv/files"},
            r"storage= is of the type str, .*it lacks location, .*open, .*Storage\(",
        ),
        (
            {"registry": Incomplete()},
            r"registry= is .*, not a registry \(it lacks fields, compared, check, snapshot, "
            r"username_of, let_go\): give a SQLAlchemyRegistry\(db, .* asks of a registry",
        ),
        ({"storage": LocalStorage}, r"is the class LocalStorage, not a storage: give a Local"),
        ({"authorize": True}, "authorize= is True, not a function: give one, or leave it out"),
        ({"actor": "ann"}, "actor= is of the type str, not a function"),
        ({"audit": []}, "audit= is of the type list, not a function"),
        ({"check_release": "hex"}, "check_release= is of the type str, not a function"),
        (
            {"authorize": lambda: True},
            "this app has no Flask-Login to tell who that is: pass actor= to init_app too, .* or "
            "call init_app of the LoginManager first",
        ),
    ],
)
def test_an_argument_of_another_type_is_refused(
    tmp_path: Path, given: dict[str, Any], message: str
) -> None:
    app = Flask("host", instance_path=str(tmp_path))
    right: dict[str, Any] = {
        "registry": usual_registry(sa.create_engine("sqlite:///host.db")),
        "storage": LocalStorage(tmp_path / "files"),
    }
    with pytest.raises(SettingError, match=message):
        HexHubBackup(app, **(right | given))
    assert "hexhub_backup" not in app.extensions


@pytest.mark.parametrize("name", ["depot", "runner", "destinations", "storage", "actor"])
def test_an_address_in_the_wrong_place_is_not_quoted(tmp_path: Path, name: str) -> None:
    right: dict[str, Any] = {
        "registry": usual_registry(sa.create_engine("sqlite:///host.db")),
        "storage": LocalStorage(tmp_path / "files"),
    }
    with pytest.raises(SettingError) as refused:
        HexHubBackup(
            Flask("host", instance_path=str(tmp_path)),
            **(right | {name: "redis://:s3cret@127.0.0.1/0"}),
        )
    assert "s3cret" not in str(refused.value)


def test_a_name_that_the_host_has_taken_is_refused(tmp_path: Path) -> None:
    def page() -> str:
        return "the host's"

    def registered(app: Flask) -> None:
        HexHubBackup(
            app,
            registry=usual_registry(sa.create_engine("sqlite:///host.db")),
            storage=LocalStorage(tmp_path / "files"),
        )

    for address in ("/admin/backups", "/admin/backups/"):
        app = Flask("host", instance_path=str(tmp_path))
        app.add_url_rule(address, "safe", page)
        with pytest.raises(SettingError, match=rf"{address} already \(safe\): set HEX"):
            registered(app)
    app = Flask("host", instance_path=str(tmp_path))
    app.add_url_rule("/admin/<path:anything>", "others", page)
    app.cli.command("backups")(page)
    with pytest.raises(SettingError, match="has a command backups already"):
        registered(app)
    app = Flask("host", instance_path=str(tmp_path))
    app.register_blueprint(Blueprint("hexhub_backup", __name__))
    with pytest.raises(SettingError, match="has a blueprint called hexhub_backup already"):
        registered(app)
    app = Flask("host", instance_path=str(tmp_path))
    app.add_url_rule("/admin/<path:anything>", "others", page)
    registered(app)
