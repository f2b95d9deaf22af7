"""Every `HEXHUB_BACKUP_*` key: its default, its type, and one line of help."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hexhub_backup.errors import SettingError

_log = logging.getLogger("hexhub_backup")

PREFIX = "HEXHUB_BACKUP_"


@dataclass(frozen=True)
class Settings:
    """The settings of one app.

    `path`: where backups are kept. `retention_days`: after how many days a backup expires.
    `create_tables`: make our tables where they are missing; turn it off where migrations do it.
    `host_version`: what a manifest says of the host.
    """

    path: Path
    retention_days: int = 30
    create_tables: bool = True
    host_version: str = "unknown"


def read_settings(config: Mapping[str, Any], *, instance_path: str) -> Settings:
    """The settings in a Flask config. Raises SettingError for a value that is
    none; a key that is none is logged."""
    known = {name: PREFIX + name.upper() for name in Settings.__dataclass_fields__}
    for key in sorted(config):
        if key.startswith(PREFIX) and key not in known.values():
            _log.warning("there is no setting %s: there are %s", key, ", ".join(known.values()))
    values = {name: config[key] for name, key in known.items() if key in config}
    values["path"] = Path(values.get("path") or Path(instance_path, "backups")).absolute()
    settings = Settings(**values)
    days: object = settings.retention_days
    if not isinstance(days, int) or isinstance(days, bool) or days < 1:
        raise SettingError(f"{known['retention_days']} is {days!r}: it has to be a number of days.")
    for name, wanted in (("create_tables", bool), ("host_version", str)):
        value = getattr(settings, name)
        if not isinstance(value, wanted):
            raise SettingError(f"{known[name]} is {value!r}: it has to be a {wanted.__name__}.")
    return settings
