"""Every `HEXHUB_BACKUP_*` key: its default, its type, and one line of help."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hexhub_backup.errors import SettingError

_log = logging.getLogger("hexhub_backup")

PREFIX = "HEXHUB_BACKUP_"

_TYPES: dict[str, type] = {
    "retention_days": int,
    "create_tables": bool,
    "host_version": str,
    "url_prefix": str,
    "base_template": str,
    "max_watchers": int,
}
_WORDS: dict[type, str] = {int: "a number", bool: "True or False", str: "a text"}
_URL_PREFIX = re.compile(r"(/[^/<>?#\s]+)+")


@dataclass(frozen=True)
class Settings:
    """The settings of one app.

    `path`: where backups are kept. `retention_days`: after how many days a backup expires.
    `create_tables`: make our tables where they are missing; turn it off where migrations do it.
    `host_version`: what a manifest says of the host. `url_prefix`: where the pages are.
    `base_template`: what the pages extend; it needs the blocks `title` and `content`.
    `max_watchers`: how many websockets one process serves at a time, each in a thread.
    """

    path: Path
    retention_days: int = 30
    create_tables: bool = True
    host_version: str = "unknown"
    url_prefix: str = "/admin/backups"
    base_template: str = "hexhub_backup/base.html"
    max_watchers: int = 32


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
    for name, wanted in _TYPES.items():
        value = getattr(settings, name)
        # A bool is an int to Python, and no number to people.
        if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
            raise SettingError(f"{known[name]} is {value!r}: it has to be {_WORDS[wanted]}.")
    if settings.retention_days < 1:
        raise SettingError(
            f"{known['retention_days']} is {settings.retention_days}: it has to be a number of "
            "days, 1 or more."
        )
    if settings.max_watchers < 0:
        raise SettingError(
            f"{known['max_watchers']} is {settings.max_watchers}: it has to be 0 or more."
        )
    if not _URL_PREFIX.fullmatch(settings.url_prefix):
        raise SettingError(
            f"{known['url_prefix']} is {settings.url_prefix!r}: it has to begin with a slash, and "
            "must not end with one, like /admin/backups."
        )
    return settings
