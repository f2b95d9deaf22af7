"""The RSA key that signs what the repository answers. It is made when it is first needed."""

from __future__ import annotations

import base64
import hashlib
import os
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import cast

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA512
from flask import current_app

_NAME = "host_app_repository_key"
#: In the instance folder. A backup does not hold it.
FILE = "repository_key.pem"


def sign(payload: bytes) -> bytes:
    """The signature that clients check: RSA PKCS #1 v1.5 with SHA-512, always the same."""
    return _key().sign(payload, padding.PKCS1v15(), SHA512())


def public_pem() -> bytes:
    return (
        _key()
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def fingerprint() -> str:
    """What `mix hex.repo add` compares: that of OpenSSH, `SHA256:` and base64 without padding."""
    public = (
        _key()
        .public_key()
        .public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    )
    digest = hashlib.sha256(base64.b64decode(public.split()[1])).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


def _key() -> rsa.RSAPrivateKey:
    if _NAME not in current_app.extensions:
        path = Path(current_app.instance_path, FILE)
        if not path.exists():
            _make(path)
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        current_app.extensions[_NAME] = key
    return cast(rsa.RSAPrivateKey, current_app.extensions[_NAME])


def _make(path: Path) -> None:
    pem = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with NamedTemporaryFile(dir=path.parent, prefix=path.name) as part:
        part.write(pem)
        part.flush()
        os.fsync(part.fileno())
        # Of several processes that make one, the first has made it.
        with suppress(FileExistsError):
            os.link(part.name, path)
