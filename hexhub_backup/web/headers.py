"""Security headers of our responses, set after the host has set its own."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request, request_finished
from flask.sansio.app import App

from hexhub_backup.settings import Settings

_POLICY = "Content-Security-Policy"
#: Our pages have no inline scripts and styles, and load nothing from elsewhere. There is no
#: `form-action`: a button that is pressed after a session has ended may lead to a login elsewhere.
_OWN_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; frame-ancestors 'self'"
)
#: For a layout of the host, whose assets are not ours to restrict.
_LAYOUT_POLICY = "frame-ancestors 'self'"
#: Our pages use none of these. Browsers know others by now, and ignore what they do not know.
_PERMISSIONS = ", ".join(
    f"{feature}=()"
    for feature in (
        "accelerometer", "camera", "display-capture", "geolocation", "gyroscope", "magnetometer",
        "microphone", "midi", "payment", "publickey-credentials-get", "serial", "usb",
    )
)  # fmt: skip
_IN_APP = "hexhub_backup_headers"


def add_to(blueprint: Blueprint, settings: Settings) -> None:
    """Add the headers to the blueprint's responses, unless the host sets others."""
    own_page = settings.base_template == Settings.base_template
    policy = _OWN_POLICY if own_page else _LAYOUT_POLICY

    # The signal comes last: a blueprint's `after_request` would run before the app's, in which
    # hosts set theirs, often only where there is none yet.
    def secure(app: App, response: Response, **extra: Any) -> None:
        if _is_ours(blueprint.name, settings.url_prefix):
            _secure(response, policy)

    def connect(app: App) -> None:
        # The signal holds a weak reference: this one lives as long as the app.
        app.extensions[_IN_APP] = secure
        request_finished.connect(secure, app)

    blueprint.record_once(lambda state: connect(state.app))


def _is_ours(blueprint: str, prefix: str) -> bool:
    if request.url_rule is None:
        # An address that only lacks its slash, or does not take the method.
        return request.path == prefix or request.path.startswith(f"{prefix}/")
    return request.blueprint == blueprint


def _secure(response: Response, policy: str) -> None:
    headers = response.headers
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("Referrer-Policy", "same-origin")
    headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
    headers.setdefault("Permissions-Policy", _PERMISSIONS)
    policies = headers.getlist(_POLICY)
    if not any("frame-ancestors" in each.lower() for each in policies):
        # Also for browsers that do not know `frame-ancestors`.
        headers.setdefault("X-Frame-Options", "SAMEORIGIN")
    if not policies:
        headers[_POLICY] = policy
