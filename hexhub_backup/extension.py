"""The Flask extension: `init_app` wires the rooms together."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from hexhub_backup.cli import backups_cli
from hexhub_backup.errors import SettingError
from hexhub_backup.history.store import Catalog
from hexhub_backup.jobs.receivers import Audit
from hexhub_backup.jobs.verbs import Backups
from hexhub_backup.settings import read_settings

if TYPE_CHECKING:
    from flask import Flask

    from hexhub_backup.registry.sqlalchemy import SQLAlchemyRegistry
    from hexhub_backup.storage.base import Storage

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
        audit: Audit | None = None,
    ) -> None:
        """Register with an app.

        `registry` maps the host's models, `storage` is where package and docs files live.
        `audit(event, *, actor, at, address, details)` gets the audit events; without it they go
        to a table of ours.

        Raises SettingError for a setting that can't work and for a second call, MappingError
        for a mapping that can't work, with every fault.
        """
        if NAME in app.extensions:
            raise SettingError(
                "hexhub_backup is registered with this app already: call init_app once, in the "
                "app's factory."
            )
        settings = read_settings(app.config, instance_path=app.instance_path)
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
        app.cli.add_command(backups_cli)
