"""Metrics: what a monitoring system scrapes, with a token of its own."""

from __future__ import annotations

from flask import Blueprint, Response, request

from hexhub_backup.web import current


def add_to(blueprint: Blueprint) -> None:
    """Add the address of the metrics to the blueprint."""
    blueprint.add_url_rule("/metrics", "metrics", metrics)


def metrics() -> Response:
    """What `watching.metrics` collects."""
    # The extra may be missing where the metrics are off.
    from hexhub_backup.watching.metrics import exposition

    body, content_type = exposition(current.backups().history, request.headers.get("Accept", ""))
    return Response(body, content_type=content_type)
