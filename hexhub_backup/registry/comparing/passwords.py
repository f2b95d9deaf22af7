"""Which scheme a stored password hash is of, and what one log-in against it would cost.

A hash carries its own cost parameters, so that one hash in an archive can make every log-in
try take minutes or gigabytes; Werkzeug raises ValueError, an error 500, for a malformed one.
"""

from __future__ import annotations

import hashlib
import re
from typing import Literal

Scheme = Literal["known", "unknown", "out of bounds"]

#: One log-in costs at most about this many bytes.
MAX_MEMORY = 256 * 1024 * 1024
MAX_PBKDF2_ROUNDS = 5_000_000
#: The sum of work that scrypt does, in blocks of 128 bytes: N times r times p.
MAX_SCRYPT_WORK = MAX_MEMORY // 128

# Werkzeug, security.py: `method$salt$hexdigest`, method with its parameters after colons.
_WERKZEUG = re.compile(r"(pbkdf2|scrypt)(?::([^$]*))?\$([^$]+)\$([0-9a-f]+)", re.ASCII)
_BCRYPT = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}", re.ASCII)
_ARGON2 = re.compile(
    r"\$argon2(?:id|i|d)\$(?:v=\d{1,3}\$)?m=(\d{1,10}),t=(\d{1,10}),p=(\d{1,10})"
    r"(?:,[a-z]+=[A-Za-z0-9+/]*)*\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+",
    re.ASCII,
)
_NUMBER = re.compile(r"[1-9]\d{0,9}", re.ASCII)
_BEGINNINGS = ("pbkdf2:", "pbkdf2$", "scrypt:", "scrypt$", "$2a$", "$2b$", "$2y$", "$argon2")


def scheme(password_hash: str | None) -> Scheme:
    """What `password_hash` is: of a known scheme and within bounds, or not.

    Nothing (None, an empty text) is known: nobody can log in with it. A malformed hash of a
    known scheme is out of bounds.
    """
    if not password_hash:
        return "known"
    if not password_hash.startswith(_BEGINNINGS):
        return "unknown"
    bounded = _werkzeug(password_hash) or _bcrypt(password_hash) or _argon2(password_hash)
    return "known" if bounded else "out of bounds"


def _werkzeug(text: str) -> bool:
    match = _WERKZEUG.fullmatch(text)
    if match is None:
        return False
    parameters = match[2].split(":") if match[2] is not None else []
    if match[1] == "pbkdf2":
        return _pbkdf2(parameters)
    # `scrypt` alone means Werkzeug's own n=2**15, r=8, p=1.
    if not parameters:
        return True
    if len(parameters) != 3 or not all(map(_NUMBER.fullmatch, parameters)):
        return False
    n, r, p = map(int, parameters)
    # RFC 7914, 2: N is a power of two and less than 2**(16 * r).
    return 1 < n < 1 << 16 * min(r, 4) and n & (n - 1) == 0 and n * r * p <= MAX_SCRYPT_WORK


def _pbkdf2(parameters: list[str]) -> bool:
    if len(parameters) > 2:
        return False
    digest = parameters[0] if parameters else "sha256"
    if digest not in hashlib.algorithms_guaranteed or digest.startswith("shake_"):
        return False
    if len(parameters) < 2:
        return True
    return bool(_NUMBER.fullmatch(parameters[1])) and int(parameters[1]) <= MAX_PBKDF2_ROUNDS


def _bcrypt(text: str) -> bool:
    match = _BCRYPT.fullmatch(text)
    return match is not None and 4 <= int(match[1]) <= 15


def _argon2(text: str) -> bool:
    match = _ARGON2.fullmatch(text)
    if match is None:
        return False
    memory, rounds, lanes = map(int, match.groups())
    return memory * 1024 <= MAX_MEMORY and 1 <= rounds <= 16 and 1 <= lanes <= 16
