"""Which fields of a record are secrets or credentials, going by their names."""

from __future__ import annotations

import re

#: A column of the host's own may be anything: what is named like a secret is taken for one.
_SECRET = re.compile(
    r"passw|passphrase|secret|token|hash|salt|otp|recovery|credential|private_?key|api_?key", re.I
)
_NOT_SECRET = {"totp_enabled"}
#: No secrets, and nobody's business who only looks through a backup.
_NOT_LISTED = {"email", "totp_enabled"}
#: The fields of a user with which one logs in, or may not any more.
_CREDENTIALS = {"password_hash", "totp_enabled", "deactivated_at"}


def is_secret(field: str) -> bool:
    """Whether the value of a field is never shown."""
    return field not in _NOT_SECRET and _SECRET.search(field) is not None


def is_listed(field: str) -> bool:
    """Whether the contents of a backup show the value of a field."""
    return field not in _NOT_LISTED and not is_secret(field)


def is_credential(field: str) -> bool:
    """Whether sessions that began with another value of this field of a user should end."""
    return field in _CREDENTIALS or is_secret(field)


def lets_in(field: str) -> bool:
    """Whether who sets this field of a user can become that user, or keep them out: passwords are
    set anew by e-mail."""
    return field == "email" or is_credential(field)
