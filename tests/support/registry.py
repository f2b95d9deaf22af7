"""A client of the example's repository that shares no code with it."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from typing import Any

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

#: A message of protobuf: what it says by the number of each field, in order.
Fields = dict[int, list[Any]]


def get(client: FlaskClient, path: str, key: str = "", **headers: str) -> TestResponse:
    """GET something of the repository as the client does: with its bare key, where it has one."""
    if key:
        headers["Authorization"] = key
    return client.get(f"/repo/{path}", headers=headers, buffered=True)


def payload(client: FlaskClient, path: str, key: str = "") -> bytes:
    """What was signed, after its signature was checked with the public key."""
    answer = get(client, path, key)
    assert answer.status_code == 200, answer.text
    assert answer.mimetype == "application/octet-stream"
    assert "Content-Encoding" not in answer.headers
    signed = fields(gzip.decompress(answer.data))
    public = load_pem_public_key(get(client, "public_key").data)
    assert isinstance(public, rsa.RSAPublicKey)
    (content,), (signature,) = signed[1], signed[2]
    public.verify(signature, content, padding.PKCS1v15(), SHA512())
    assert isinstance(content, bytes)
    return content


def fields(message: bytes) -> Fields:
    """A message by protobuf's wire format: numbers and bytes are all that Hex needs of it."""
    found: Fields = {}
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        value: Any
        value, at = _varint(message, at)
        if tag & 7 == 2:
            value, at = message[at : at + value], at + value
        else:
            assert tag & 7 == 0, f"the wire type {tag & 7} is not Hex's"
        found.setdefault(tag >> 3, []).append(value)
    return found


def packed(content: bytes) -> Iterator[int]:
    """The numbers of a field that is packed."""
    at = 0
    while at < len(content):
        value, at = _varint(content, at)
        yield value


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (message[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if message[at - 1] < 0x80:
            return value, at
