"""The blueprint: every page and channel below the host's prefix, behind one guard."""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint

from hexhub_backup.settings import Settings
from hexhub_backup.web import (
    access,
    compare,
    contents,
    copies,
    doctor,
    downloads,
    filters,
    headers,
    lists,
    live,
    metrics,
    outcomes,
    plans,
    protection,
    retention,
    selected,
    server,
    static,
    tokens,
    tus,
    uploads,
    views,
)

NAME = "hexhub_backup"


def make_blueprint(settings: Settings, authorize: Callable[[], bool] | None = None) -> Blueprint:
    """The blueprint of one app; see `access.guard` for `authorize`."""
    blueprint = Blueprint(
        NAME,
        __name__,
        url_prefix=settings.url_prefix,
        template_folder="../templates",
    )
    access.guard(blueprint, authorize)
    headers.add_to(blueprint, settings)
    static.add_to(blueprint)
    server.add_to(blueprint)
    tokens.add_to(blueprint)
    uploads.add_to(blueprint)
    tus.add_to(blueprint)
    downloads.add_to(blueprint)
    live.add_to(blueprint)
    filters.add_to(blueprint)
    plans.add_to(blueprint)
    metrics.add_to(blueprint)
    protection.add_to(blueprint)
    retention.add_to(blueprint)
    doctor.add_to(blueprint)
    selected.add_to(blueprint)
    outcomes.add_to(blueprint)
    copies.add_to(blueprint)
    compare.add_to(blueprint)
    contents.add_to(blueprint)
    lists.add_to(blueprint)
    views.add_to(blueprint)
    return blueprint
