"""Channels: the ways on which alerts go out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Literal

from hexhub_backup.errors import SettingError, without_messages
from hexhub_backup.extras import require
from hexhub_backup.marking import marked
from hexhub_backup.settings import PREFIX, Settings
from hexhub_backup.watching.problem import Level

_log = logging.getLogger("hexhub_backup")

Event = Literal["raised", "reminder", "cleared", "test"]


@dataclass(frozen=True, kw_only=True)
class Alert:
    """What a channel is handed. `code`, `level` and `text` are those of a problem, `action` says
    what to do now, and `began_at` is when the problem was first seen."""

    event: Event
    code: str
    level: Level
    text: str
    action: str
    began_at: datetime

    @property
    def title(self) -> str:
        """A line for the subject of a mail."""
        names = {"raised": "", "reminder": "Still: ", "cleared": "Resolved: ", "test": "Test: "}
        return f"Backups: {names[self.event]}{self.text}"


#: A channel of the host's: `on_alert(alert)`.
OnAlert = Callable[[Alert], None]


class Channels:
    """The host's function, and each address of Apprise."""

    def __init__(self, settings: Settings, on_alert: OnAlert | None) -> None:
        """Raises SettingError for an address that Apprise does not know; no message has it."""
        self._sends: dict[str, Callable[[Any, Alert], None]] = {}
        if on_alert is not None:
            self._sends["on_alert="] = partial(_call, on_alert)
        for number, url in enumerate(settings.alerts, 1):
            name = f"{PREFIX}ALERTS"
            if len(settings.alerts) > 1:
                name = marked(f"{name}, address {number}")
            self._sends[name] = partial(_notify, _apprise_of(url, number))

    @property
    def names(self) -> list[str]:
        """For people: the channels that there are."""
        return list(self._sends)

    def tell(self, app: Any, alert: Alert) -> list[str]:
        """Hand an alert to each channel. Returns the names of those that failed; the log says
        why."""
        failed = []
        for name, send in self._sends.items():
            try:
                send(app, alert)
            # A function of the host's may call what ends a script.
            except (Exception, SystemExit) as error:
                _log.error("an alert did not get out by %s", name, exc_info=without_messages(error))
                failed.append(name)
        return failed


def _call(on_alert: OnAlert, app: Any, alert: Alert) -> None:
    with app.app_context():
        on_alert(alert)


def _notify(apprise: Any, _: Any, alert: Alert) -> None:
    body = alert.text if alert.event == "cleared" else f"{alert.text} {alert.action}"
    kinds = {"critical": "failure", "warning": "warning", "fine": "info"}
    kind = "success" if alert.event == "cleared" else kinds[alert.level]
    with _in_silence():
        delivered = apprise.notify(body=body, title=alert.title, notify_type=kind)
    if not delivered:
        raise OSError("Apprise has not delivered it")


def _apprise_of(url: str, number: int) -> Any:
    """An Apprise with one address: so it is known which ones an alert got out by."""
    require("notify", f"{PREFIX}ALERTS")
    with _in_silence():
        from apprise import Apprise

        apprise = Apprise()
        known = apprise.add(url)
    if not known:
        raise SettingError(
            f"Address {number} of {PREFIX}ALERTS is none that Apprise knows: look it up in its "
            "list of services."
        )
    return apprise


#: Whether this thread, or one that Apprise has handed its work to, sends an alert just now.
_sends: ContextVar[bool] = ContextVar("hexhub_backup_sends", default=False)
#: What may log in a thread of its own meanwhile.
_LOGGERS = {"apprise", "paho", "requests", "slixmpp", "urllib3"}


@contextmanager
def _in_silence() -> Iterator[None]:
    """Let nothing be logged of what is done within: Apprise and the libraries that it sends by log
    addresses, which hold passwords. Lines of other threads are logged as always.

    The handlers are asked, and not the loggers, of which any library has its own.
    """
    found = [logging.root, *logging.root.manager.loggerDict.values()]
    handlers = {each for one in found if isinstance(one, logging.Logger) for each in one.handlers}
    if logging.lastResort is not None:
        handlers.add(logging.lastResort)
    # One for each use: of two that overlap, the first to end lets the other's stay.
    silent = _Silent()
    for handler in handlers:
        handler.addFilter(silent)
    token = _sends.set(True)
    try:
        yield
    finally:
        _sends.reset(token)
        for handler in handlers:
            handler.removeFilter(silent)


class _Silent(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return not _sends.get() and record.name.split(".")[0] not in _LOGGERS
