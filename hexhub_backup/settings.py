"""Every `HEXHUB_BACKUP_*` key: its default, its type, and one line of help."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from hexhub_backup.errors import SettingError
from hexhub_backup.extras import require
from hexhub_backup.retention import DEFAULT_DAYS, Rules

_log = logging.getLogger("hexhub_backup")

PREFIX = "HEXHUB_BACKUP_"

_TYPES: dict[str, type] = {
    "timezone": str,
    "create_tables": bool,
    "tick_thread": bool,
    "verify_days": int,
    "verify_rate": int,
    "host_version": str,
    "url_prefix": str,
    "base_template": str,
    "max_watchers": int,
    "signed_downloads": int,
    "worker_timeout": int,
    "rehearse": int,
}
#: Bytes: a token that nobody can guess.
_TOKEN_LENGTH = 16
_WORDS: dict[type, str] = {int: "a number", bool: "True or False", str: "a text"}
#: Seconds: whoever sees the address of a download reads the archive as long.
_SIGNED_FOR = 60
_URL_PREFIX = re.compile(r"(/[^/<>?#\s]+)+")


@dataclass(frozen=True)
class Settings:
    """The settings of one app.

    `path`: the backup directory. `retention`: the rules by which backups stay, as `Rules.of` takes
    them. `retention_days`: the rule of so many days, in one number. `timezone`: where the days and
    weeks of schedule and rules are those of a calendar. `schedule`: when a backup is made by
    itself, as `schedule.times.cron` takes it. `tick_thread`: let each process that serves look
    for what is due; turn it off where `flask backups tick` does. `verify_days`: the days after
    which the clock has a backup read again, at `verify_rate` bytes a second at most; 0 is never,
    and any rate.
    `rehearse`: the days after which the clock has a restore of the newest good backup tried, where
    there is a `schedule`; 0 is never. `rehearsal_database`: the database on the registry's own
    server in which that is done, where the server is MariaDB.
    `create_tables`: create our tables where they are missing; turn it off where migrations do.
    `host_version`: the host's version in a manifest. `url_prefix`: the address of the pages.
    `base_template`: the template that the pages extend, with the blocks `title` and `content`.
    `max_watchers`: the number of websockets that one process serves at a time.
    `signed_downloads`: the seconds, 60 at most, for which a download's address at a bucket is
    signed; 0 lets downloads go through the app.
    `alert_after`: the hours after which the latest good backup is overdue; without it, twice the
    time between two backups of the schedule, or a week where there is none.
    `ping_url`: the address of a monitor that is told when a backup begins and how it ends.
    `alerts`: addresses of Apprise, to which alerts go.
    `age_recipients`: the public keys that copies elsewhere are encrypted to.
    `worker_timeout`: the seconds for which an order waits for a worker, where a `runner` was handed
    to `init_app`.
    `metrics_token`: the token that a scraper of the metrics sends; without one they are off.
    """

    path: Path
    retention: Mapping[str, int] | None = None
    retention_days: int | None = None
    timezone: str = "UTC"
    schedule: str | None = None
    tick_thread: bool = True
    verify_days: int = 7
    verify_rate: int = 50_000_000
    rehearse: int = 7
    rehearsal_database: str | None = None
    create_tables: bool = True
    host_version: str = "unknown"
    url_prefix: str = "/admin/backups"
    base_template: str = "hexhub_backup/base.html"
    max_watchers: int = 32
    signed_downloads: int = 0
    alert_after: int | None = None
    ping_url: str | None = field(default=None, repr=False)
    alerts: Sequence[str] = field(default=(), repr=False)
    age_recipients: Sequence[str] = ()
    worker_timeout: int = 600
    metrics_token: str | None = field(default=None, repr=False)

    @property
    def zone(self) -> tzinfo:
        """Raises SettingError."""
        try:
            return ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise SettingError(
                f"{PREFIX}TIMEZONE is {self.timezone!r}, which this system does not know: name a "
                "time zone like Europe/Berlin, or install the zones with 'pip install tzdata'."
            ) from None

    @property
    def rules(self) -> Rules:
        """The rules of the retention. Raises SettingError."""
        days = self.retention_days
        if days is not None and not (type(days) is int and days >= 1):
            raise SettingError(
                f"{PREFIX}RETENTION_DAYS is {days!r}: it has to be a number of days, 1 or more."
            )
        of_days = {"days": DEFAULT_DAYS if days is None else days}
        rules = Rules.of(
            of_days if self.retention is None else self.retention,
            self.zone,
            named=f"{PREFIX}RETENTION",
        )
        if days is not None and rules.days != days:
            raise SettingError(
                f"{PREFIX}RETENTION_DAYS is {days}, and {PREFIX}RETENTION has "
                f"{rules.days or 'no'} days: leave {PREFIX}RETENTION_DAYS out, and let "
                f'{PREFIX}RETENTION have the "days" that you mean.'
            )
        return rules


def rules_of(destination: Any, settings: Settings) -> Rules:
    """The rules of a destination: its own, or those that are set. Raises SettingError."""
    own = getattr(destination, "retention", None)
    if own is None:
        return settings.rules
    return Rules.of(own, settings.zone, named=f"retention= of the destination {destination.name}")


def read_settings(config: Mapping[str, Any], *, instance_path: str) -> Settings:
    """The settings in a Flask config. Raises SettingError for an invalid value; an unknown key is
    logged."""
    known = {name: PREFIX + name.upper() for name in Settings.__dataclass_fields__}
    for key in sorted(config):
        if key.startswith(PREFIX) and key not in known.values():
            _log.warning("there is no setting %s: there are %s", key, ", ".join(known.values()))
    values = {name: config[key] for name, key in known.items() if key in config}
    values["path"] = Path(values.get("path") or Path(instance_path, "backups")).absolute()
    settings = Settings(**values)
    for name, wanted in _TYPES.items():
        value = getattr(settings, name)
        # Python's bool is an int, but True is no number of days.
        if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
            raise SettingError(f"{known[name]} is {value!r}: it has to be {_WORDS[wanted]}.")
    _ = settings.rules
    for name in ("max_watchers", "verify_days", "verify_rate", "rehearse"):
        if (number := getattr(settings, name)) < 0:
            raise SettingError(f"{known[name]} is {number}: it has to be 0 or more.")
    if settings.worker_timeout < 1:
        raise SettingError(
            f"{known['worker_timeout']} is {settings.worker_timeout}: it has to be a number of "
            "seconds, 1 or more."
        )
    if not 0 <= settings.signed_downloads <= _SIGNED_FOR:
        raise SettingError(
            f"{known['signed_downloads']} is {settings.signed_downloads}: it has to be a number of "
            f"seconds, {_SIGNED_FOR} at most, or 0."
        )
    hours = settings.alert_after
    if hours is not None and not (type(hours) is int and hours >= 1):
        raise SettingError(
            f"{known['alert_after']} is {hours!r}: it has to be a number of hours, 1 or more."
        )
    database = settings.rehearsal_database
    if database is not None and not (isinstance(database, str) and database):
        raise SettingError(
            f"{known['rehearsal_database']} is {database!r}: it has to be the name of a database."
        )
    _check_url(settings.ping_url)
    _check_addresses(settings.alerts)
    _check_token(settings.metrics_token)
    if not _URL_PREFIX.fullmatch(settings.url_prefix):
        raise SettingError(
            f"{known['url_prefix']} is {settings.url_prefix!r}: it has to begin with a slash, and "
            "must not end with one, like /admin/backups."
        )
    return settings


def _check_url(url: object) -> None:
    """Raises SettingError, whose message does not have the address: it is a secret."""
    if url is None:
        return
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname)
        # A port that is no number is refused when it is asked for.
        _ = parts.port
    except ValueError:
        is_address = False
    if not is_address:
        raise SettingError(f"{PREFIX}PING_URL has to be an address like https://example.org/ping.")


def _check_addresses(addresses: object) -> None:
    """Raises SettingError, whose message has no address: they hold passwords."""
    if not isinstance(addresses, (list, tuple)) or not all(
        isinstance(each, str) for each in addresses
    ):
        raise SettingError(
            f"{PREFIX}ALERTS has to be a list of addresses of Apprise, such as "
            '["mailtos://user:password@example.org"].'
        )


def _check_token(token: object) -> None:
    """Raises SettingError, whose message does not have the token."""
    if token is None:
        return
    if not isinstance(token, str) or len(token) < _TOKEN_LENGTH or not token.isascii():
        raise SettingError(
            f"{PREFIX}METRICS_TOKEN has to be a text of {_TOKEN_LENGTH} ASCII characters or more, "
            "such as `python -c 'import secrets; print(secrets.token_hex())'` prints."
        )
    require("metrics", f"{PREFIX}METRICS_TOKEN")
