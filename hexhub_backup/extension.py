"""The Flask extension: `init_app` wires the rooms together."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from flask.cli import run_command
from flask_login import current_user  # type: ignore[import-untyped]
from werkzeug.serving import is_running_from_reloader

from hexhub_backup.cli import backups_cli
from hexhub_backup.coordination.base import Coordinator
from hexhub_backup.coordination.directory import DirectoryCoordinator
from hexhub_backup.coordination.postgresql.coordinator import (
    CoordinationTables,
    PostgreSQLCoordinator,
)
from hexhub_backup.databases.known import database_of
from hexhub_backup.depot.base import Depot
from hexhub_backup.depot.directory import DirectoryDepot
from hexhub_backup.depot.s3 import S3Depot
from hexhub_backup.destinations.base import Destination, check_name
from hexhub_backup.destinations.encryption import Recipients, recipients_of
from hexhub_backup.errors import SettingError
from hexhub_backup.extras import require
from hexhub_backup.history.store import Catalog
from hexhub_backup.history.tables import alarm, events, operations
from hexhub_backup.jobs import process, threads
from hexhub_backup.jobs.backups import Backups
from hexhub_backup.jobs.receivers import Audit
from hexhub_backup.jobs.runner import FunctionRunner, Runner
from hexhub_backup.operations.release_check import ReleaseCheck
from hexhub_backup.registry.base import Registry
from hexhub_backup.schedule import clockwork
from hexhub_backup.schedule.thread import Ticking
from hexhub_backup.settings import read_settings
from hexhub_backup.storage.base import Storage
from hexhub_backup.verbs.base import CheckRestored
from hexhub_backup.watching.channels import OnAlert
from hexhub_backup.web import current, live
from hexhub_backup.web.blueprint import make_blueprint
from hexhub_backup.web.link import backup_link

if TYPE_CHECKING:
    from flask import Flask

NAME = "hexhub_backup"
#: Seconds in which the rest of an app is made, after `init_app`.
_MADE_IN = 3.0


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
        registry: Registry,
        storage: Storage,
        depot: S3Depot | None = None,
        authorize: Callable[[], bool] | None = None,
        actor: Callable[[], str] | None = None,
        audit: Audit | None = None,
        runner: Runner | Callable[[str], object] | None = None,
        authorize_metrics: Callable[[], bool] | None = None,
        destinations: Iterable[Destination] = (),
        on_alert: OnAlert | None = None,
        check_restored: CheckRestored | None = None,
        check_release: ReleaseCheck | None = None,
    ) -> None:
        """Register with an app.

        `registry` maps the host's models and `storage` holds package and docs files: a
        SQLAlchemyRegistry and a LocalStorage or S3Storage, or objects of your own that fulfil the
        protocols `Registry` and `Storage`. `depot` is an S3Depot, for machines that share no
        directory; without it backups are in HEXHUB_BACKUP_PATH. `authorize()` returns whether a
        request is allowed (by default, users of Flask-Login who are active and `is_admin`).
        `actor()` returns the registry's username of whoever is logged in (by default, that of
        Flask-Login's user).
        `audit(event, *, actor, at, address, details)` gets the audit events; without it they go
        to a table of ours. `runner` runs the orders of the pages elsewhere than in a thread of
        this process: a CeleryRunner, a function that takes an operation's id, or a `Runner` of your
        own. `authorize_metrics()` returns whether a request may read the
        metrics, in place of HEXHUB_BACKUP_METRICS_TOKEN; without both, there are none.
        `destinations` are the places elsewhere that each new backup is copied to: S3Destination,
        DirectoryDestination, or objects that fulfil `Destination`. `on_alert(alert)` is handed
        each `Alert`: that something is wrong with the backups, and that it is over.
        `check_restored(engine, folder)` looks with your own code at what a rehearsal has restored:
        on the `engine` your models are those tables, the `folder` has the files, in the layout of
        your storage. It yields for each release what to call it, and why a client could not use it,
        or None.
        `check_release` looks at each package file while a new archive is read back, and while one
        is verified, and what it finds are warnings: `hex_tarball`, or a `ReleaseCheck` of your own.

        Raises SettingError for a setting or an argument that can't work and for a second call,
        MappingError for a mapping that can't work, with every fault.
        """
        if NAME in app.extensions:
            raise SettingError(
                "hexhub_backup is already registered with this app: call init_app once, in the "
                "app's factory."
            )
        _refuse_mistyped(
            registry,
            storage,
            authorize=authorize,
            actor=actor,
            audit=audit,
            authorize_metrics=authorize_metrics,
            on_alert=on_alert,
            check_restored=check_restored,
            check_release=check_release,
        )
        order_runner = _runner(runner)
        if authorize is not None and actor is None and not hasattr(app, "login_manager"):
            raise SettingError(
                "authorize= decides who is allowed, but this app has no Flask-Login to tell who "
                "that is: pass actor= to init_app too, a function that returns their username "
                "in the registry, or call init_app of the LoginManager first."
            )
        places = _by_name(destinations)
        settings = read_settings(app.config, instance_path=app.instance_path)
        Recipients(settings.age_recipients, "HEXHUB_BACKUP_AGE_RECIPIENTS")
        for place in places.values():
            recipients_of(place, settings.age_recipients)
        clockwork.jobs(settings)
        if authorize_metrics is not None:
            require("metrics", "authorize_metrics=")
            if settings.metrics_token is not None:
                raise SettingError(
                    "Both authorize_metrics= and HEXHUB_BACKUP_METRICS_TOKEN say who reads the "
                    "metrics: leave one of them out."
                )
        _refuse_taken(app, settings.url_prefix)
        # Flask-SQLAlchemy has an engine only in an app context.
        with app.app_context():
            registry.check()
            _refuse_depot(depot, registry)
        catalog = Catalog(lambda: registry.engine)
        files, coordinator = _shared(depot, settings.path, catalog)
        _refuse_one_place(files, places)
        backups = Backups(
            settings=settings,
            registry=registry,
            storage=storage,
            catalog=catalog,
            depot=files,
            coordinator=coordinator,
            audit=audit,
            runner=order_runner,
            destinations=places,
            on_alert=on_alert,
            check_restored=check_restored,
            check_release=check_release,
            generator=f"{NAME} {version(NAME)}",
        )
        backups.connect(app)
        app.extensions[NAME] = backups
        app.extensions[current.LET_GO] = registry.let_go
        app.extensions[current.ACTOR] = actor or _current_username(registry)
        app.extensions[current.AUTHORIZE_METRICS] = authorize_metrics
        live.prepare(app)
        app.register_blueprint(make_blueprint(settings, authorize))
        app.add_template_global(backup_link, "hexhub_backup_link")
        app.cli.add_command(backups_cli)
        if settings.tick_thread:
            app.extensions[current.TICKING] = ticking = Ticking(app)
            ticking.look()
        if _is_about_to_serve():
            process.end_in_order()
            if settings.tick_thread and not _only_reloads(app):
                ticking.begin(after=_MADE_IN)


def _is_about_to_serve() -> bool:
    """Whether this process is `flask run`, which serves in threads: none of its requests can set a
    signal handler. Other servers have handlers of their own."""
    context = click.get_current_context(silent=True)
    return context is not None and context.command is run_command


def _only_reloads(app: Flask) -> bool:
    """Whether this `flask run` has another process serve, which it starts again and again."""
    reloads = click.get_current_context().params.get("reload")
    return (app.debug if reloads is None else bool(reloads)) and not is_running_from_reloader()


def _refuse_taken(app: Flask, prefix: str) -> None:
    """Refuse names of ours that the host has taken: one of the two would never be reached."""
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
    _refuse_lacking(
        "registry", registry, Registry, "SQLAlchemyRegistry(db, users=…, packages=…, …)"
    )
    _refuse_lacking("storage", storage, Storage, "LocalStorage(root) or S3Storage(bucket)")
    for name, function in functions.items():
        if function is not None and not callable(function):
            raise SettingError(
                f"{name}= is {_called(function)}, not a function: give one, or leave it out."
            )


def _shared(depot: S3Depot | None, path: Path, catalog: Catalog) -> tuple[Depot, Coordinator]:
    """What the processes of an app share: a directory, or a bucket and the database."""
    if depot is None:
        return DirectoryDepot(path), DirectoryCoordinator(path, catalog.alone)
    tables = CoordinationTables(operations=operations, events=events, alarm=alarm)
    coordinator = PostgreSQLCoordinator(catalog.engine, tables, threads.in_background)
    return depot.opened(path, coordinator.hold), coordinator


def _refuse_depot(depot: Any, registry: Registry) -> None:
    """Raises SettingError for a depot that is none, or whose machines could not know of each
    other."""
    if depot is not None and not isinstance(depot, S3Depot):
        raise SettingError(
            f"depot= is {_called(depot)}, not a depot: give an S3Depot, or leave it out and set "
            "HEXHUB_BACKUP_PATH."
        )
    if depot is not None and not database_of(registry.engine).coordinates:
        raise SettingError(
            "An S3Depot is for machines that know of each other by PostgreSQL, and the registry's "
            f"database is {database_of(registry.engine).name}: leave depot= out and set "
            "HEXHUB_BACKUP_PATH, or use PostgreSQL."
        )


def _runner(given: Any) -> Runner | None:
    if given is None:
        return None
    if not isinstance(given, type):
        if callable(getattr(given, "submit", None)):
            runner: Runner = given
            return runner
        if callable(given):
            return FunctionRunner(given)
    raise SettingError(
        f"runner= is {_called(given)}, not a runner: give a CeleryRunner, a function that takes an "
        "operation's id or an object with a function submit(operation_id), or leave it out."
    )


def _by_name(destinations: Any) -> dict[str, Destination]:
    if not isinstance(destinations, Iterable):
        raise SettingError(
            f"destinations= is {_called(destinations)}, not a list: give a list of destinations."
        )
    found: dict[str, Destination] = {}
    for each in destinations:
        _refuse_lacking("destination", each, Destination, "S3Destination or DirectoryDestination")
        if check_name(each.name) in found:
            raise SettingError(
                f"There are two destinations called {each.name}: give each a name of its own."
            )
        found[each.name] = each
    return found


def _refuse_one_place(depot: Depot, destinations: Mapping[str, Destination]) -> None:
    """Raises SettingError where copies would be the archives themselves, or copies of another
    destination: to delete one would be to delete both."""
    known = {os.path.realpath(depot.location): "the place of the backups themselves"}
    for each in destinations.values():
        other = known.setdefault(os.path.realpath(each.location), f"that of {each.name}")
        if other != f"that of {each.name}":
            raise SettingError(
                f"The place of the destination {each.name}, {each.location}, is {other}: give it a "
                "bucket, a prefix or a directory of its own."
            )


def _refuse_lacking(name: str, value: object, protocol: type, ours: str) -> None:
    """Refuse a value that does not have all that a protocol asks for."""
    wanted = [*protocol.__annotations__, *(each for each in vars(protocol) if each[0] != "_")]
    # The class first: reading a property runs it, and it may need the app's context.
    lacking = [each for each in wanted if not (hasattr(type(value), each) or hasattr(value, each))]
    if lacking or isinstance(value, type):
        is_none = value is None or isinstance(value, type)
        without = "" if is_none else f" (it lacks {', '.join(lacking)})"
        raise SettingError(
            f"{name}= is {_called(value)}, not a {name}{without}: give a {ours}, or an object that "
            f"does all that hexhub_backup.testing asks of a {name}."
        )


def _called(value: object) -> str:
    """Not what it says of itself: that may be the address of a server, with a password in it."""
    if value is None or isinstance(value, bool):
        return str(value)
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return f"of the type {type(value).__name__}"


def _current_username(registry: Registry) -> Callable[[], str]:
    """A function that returns the registry's username of Flask-Login's user. A restore never
    changes that account."""

    def username() -> str:
        user = current_user._get_current_object()
        name = registry.username_of(user)
        if name is None:
            raise SettingError(
                f"The user who is logged in, of type {type(user).__name__}, is no user of the "
                "registry, so a restore would not know the account that it must not change: pass "
                "actor= to init_app of hexhub_backup, a function that returns their username in "
                "the registry."
            )
        return name

    return username
