"""The Flask extension: `init_app` wires the rooms together."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import click
import sqlalchemy as sa
from flask.cli import run_command
from flask_login import current_user  # type: ignore[import-untyped]

from hexhub_backup.archive.records import USERS
from hexhub_backup.cli import backups_cli
from hexhub_backup.errors import SettingError
from hexhub_backup.history.store import Catalog
from hexhub_backup.jobs import process
from hexhub_backup.jobs.receivers import Audit
from hexhub_backup.jobs.verbs import Backups
from hexhub_backup.registry.sqlalchemy import SQLAlchemyRegistry
from hexhub_backup.settings import read_settings
from hexhub_backup.storage.base import Storage
from hexhub_backup.web import here, live
from hexhub_backup.web.blueprint import make_blueprint
from hexhub_backup.web.link import backup_link

if TYPE_CHECKING:
    from flask import Flask

NAME = "hexhub_backup"


class HexHubBackup:
    """Backup and restore for the admin of a package registry.

    It keeps no app: `init_app` leaves a `Backups` in `app.extensions["hexhub_backup"]`, so that
    one object serves several apps.
    """

    def __init__(self, app: Flask | None = None, **options: Any) -> None:
        """`options` are those of `init_app`."""
        if app is not None:
            self.init_app(app, **options)

    def init_app(
        self,
        app: Flask,
        *,
        registry: SQLAlchemyRegistry,
        storage: Storage,
        authorize: Callable[[], bool] | None = None,
        actor: Callable[[], str] | None = None,
        audit: Audit | None = None,
    ) -> None:
        """Register with an app.

        `registry` maps the host's models, `storage` is where package and docs files live.
        `authorize()` says whether who asks may come in (by default a user of Flask-Login's who
        is active and `is_admin`), `actor()` the username that they have in the registry (by
        default that of Flask-Login's user).
        `audit(event, *, actor, at, address, details)` gets the audit events; without it they go
        to a table of ours.

        Raises SettingError for a setting or an argument that can't work and for a second call,
        MappingError for a mapping that can't work, with every fault.
        """
        if NAME in app.extensions:
            raise SettingError(
                "hexhub_backup is registered with this app already: call init_app once, in the "
                "app's factory."
            )
        _refuse_mistyped(registry, storage, authorize=authorize, actor=actor, audit=audit)
        if authorize is not None and actor is None and not hasattr(app, "login_manager"):
            raise SettingError(
                "authorize= says who may come in, but nothing says who that is, as this app has no "
                "Flask-Login: hand actor= to init_app too, a function that gives their username "
                "in the registry, or call init_app of the LoginManager first."
            )
        settings = read_settings(app.config, instance_path=app.instance_path)
        _refuse_taken(app, settings.url_prefix)
        # In a context of its own: out of one Flask-SQLAlchemy has no engine to look at.
        with app.app_context():
            registry.check()
        backups = Backups(
            settings=settings,
            registry=registry,
            storage=storage,
            catalog=Catalog(lambda: registry.engine),
            audit=audit,
            generator=f"{NAME} {version(NAME)}",
        )
        backups.connect(app)
        app.extensions[NAME] = backups
        app.extensions[here.LET_GO] = registry.let_go
        app.extensions[here.ACTOR] = actor or _current_username(registry)
        app.config.setdefault("SOCK_SERVER_OPTIONS", live.SERVER_OPTIONS)
        app.register_blueprint(make_blueprint(settings, authorize))
        app.add_template_global(backup_link, "hexhub_backup_link")
        app.cli.add_command(backups_cli)
        if _is_about_to_serve():
            process.end_in_order()


def _is_about_to_serve() -> bool:
    """Whether this process is `flask run`, which serves in threads: no request of it can set the
    handler of a signal. Other servers have handlers of their own."""
    context = click.get_current_context(silent=True)
    return context is not None and context.command is run_command


def _refuse_taken(app: Flask, prefix: str) -> None:
    """Refuse what the host has made under a name of ours: one of the two would never be met."""
    for rule in app.url_map.iter_rules():
        if rule.rule.rstrip("/") == prefix:
            raise SettingError(
                f"The app has a page at {rule.rule} already ({rule.endpoint}): set "
                "HEXHUB_BACKUP_URL_PREFIX to another path for the backups, or move that page."
            )
    if NAME in app.blueprints:
        raise SettingError(f"The app has a blueprint called {NAME} already: rename it.")
    if str(backups_cli.name) in app.cli.commands:
        raise SettingError(f"The app has a command {backups_cli.name} already: rename it.")


def _refuse_mistyped(registry: Any, storage: Any, **functions: Any) -> None:
    if not isinstance(registry, SQLAlchemyRegistry):
        raise SettingError(
            f"registry= is {_called(registry)}, not a registry: give a SQLAlchemyRegistry(db, "
            "users=…, packages=…, releases=…, owners=…)."
        )
    wanted = (*Storage.__annotations__, *(name for name in vars(Storage) if name[0] != "_"))
    lacking = [name for name in wanted if not hasattr(storage, name)]
    if lacking or isinstance(storage, type):
        without = "" if isinstance(storage, type) else f" (it lacks {', '.join(lacking)})"
        raise SettingError(
            f"storage= is {_called(storage)}, not a storage{without}: give a LocalStorage(root), "
            "or an object that does all that one does."
        )
    for name, function in functions.items():
        if function is not None and not callable(function):
            raise SettingError(
                f"{name}= is {_called(function)}, not a function: give one, or leave it out."
            )


def _called(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else repr(value)


def _current_username(registry: SQLAlchemyRegistry) -> Callable[[], str]:
    """Reads from Flask-Login's user the attribute that is mapped as `username`: by it a restore
    knows the account that it must not change."""
    column = registry.kinds[USERS.name].keys[0].column

    def username() -> str:
        user = current_user._get_current_object()
        mapper = sa.inspect(type(user), raiseerr=False)
        name: str | None = column.key
        if mapper is not None:
            of_users = column.table in mapper.tables
            name = mapper.get_property_by_column(column).key if of_users else None
        found = None if name is None else getattr(user, name, None)
        if found is None:
            raise SettingError(
                f"Who is logged in, of type {type(user).__name__}, is no user of the registry, so "
                "that a restore would not know the account that it must not change: hand actor= to "
                "init_app of hexhub_backup, a function that gives their username in the registry."
            )
        return str(found)

    return username
