"""Time-based one-time passwords of six digits (RFC 6238: SHA-1, steps of 30 seconds)."""

from __future__ import annotations

import base64
import binascii
import hmac
import time

_STEP = 30


def code(secret: str, at: float | None = None) -> str:
    """The code of a base32 secret at a Unix time, by default now.

    Raises ValueError where the secret is not base32.
    """
    try:
        key = base64.b32decode(secret + "=" * (-len(secret) % 8), casefold=True)
    except binascii.Error as error:
        raise ValueError("the secret is not base32") from error
    step = int(time.time() if at is None else at) // _STEP
    digest = hmac.digest(key, step.to_bytes(8, "big"), "sha1")
    offset = digest[-1] & 0x0F
    number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFFFFFF
    return f"{number % 1_000_000:06}"


def matching_step(secret: str, given: str, at: float | None = None) -> int | None:
    """The step that `given` is the code of: that of now, or the one before or after (RFC 6238,
    5.2). None where it is of none of them."""
    at = time.time() if at is None else at
    typed = given.replace(" ", "").encode()
    found = None
    for drift in (-_STEP, 0, _STEP):
        if hmac.compare_digest(code(secret, at + drift).encode(), typed):
            found = int(at + drift) // _STEP
    return found
