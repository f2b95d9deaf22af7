"""Encryption of copies by age, with pyrage, which only this file imports.

What is written is age's own format, version 1 (https://age-encryption.org/v1): `age -d` opens it.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from hexhub_backup.destinations.base import Destination, Reader
from hexhub_backup.errors import ArchiveError, SettingError, WrongKeyError
from hexhub_backup.extras import require

#: The bytes of which age makes a chunk, and by how many each grows.
_CHUNK, _TAG = 64 * 1024, 16
#: Bytes of an age file before its first chunk, roughly: of the header, and for each recipient.
_HEADER, _FOR_EACH = 256, 768
#: So many bytes have the header of an encrypted file, and a whole chunk after it.
HEAD = 256 * 1024
#: Bytes that a file of private keys may have.
MAX_IDENTITY = 64 * 1024
_DAMAGED = "The encrypted file is damaged, or is none of age: use another copy."
#: Bytes that wait in a pipe.
_MOST = 256 * 1024


class Writer(Protocol):
    """Where plain bytes go."""

    def write(self, data: bytes, /) -> int: ...


class Recipients:
    """The public keys that copies are encrypted to: X25519 (`age1…`) and SSH (`ssh-ed25519 …`,
    `ssh-rsa …`)."""

    def __init__(self, keys: object, named: str) -> None:
        """Raises SettingError where they are none, and where pyrage is missing; `named` says what
        has to be changed."""
        if not isinstance(keys, (list, tuple)) or not all(isinstance(each, str) for each in keys):
            raise SettingError(
                f"{named} has to be a list of public keys, each a text like 'age1…' or "
                "'ssh-ed25519 …'."
            )
        if keys:
            require("age", named)
        texts = [each.strip() for each in keys]
        found = [_recipient(text, named) for text in texts]
        #: By their fingerprints.
        self._keys = dict(zip(map(fingerprint, texts), found, strict=True))
        self.fingerprints = tuple(self._keys)

    def __bool__(self) -> bool:
        return bool(self._keys)

    def size(self, plain: int) -> int:
        """About how many bytes an encrypted file has."""
        chunks = max(1, -(-plain // _CHUNK))
        return plain + chunks * _TAG + _HEADER + _FOR_EACH * len(self._keys)

    @contextmanager
    def encrypting(self, source: Reader) -> Iterator[Reader]:
        """A reader of the encrypted bytes. A thread reads `source` and encrypts; what `source`
        raises, the reader raises. Holds less than a MiB."""
        pipe, kept = _Pipe(), _Kept(source)

        def encrypt() -> None:
            try:
                _pyrage().encrypt_io(kept, pipe, [*self._keys.values()])
            except BaseException as error:
                pipe.end(kept.failure or error)
            else:
                pipe.end(None)

        with _running(encrypt, pipe.close):
            yield pipe

    def opened_by(self, identities: Identities) -> list[str]:
        """The fingerprints of the keys whose private half is among some `identities`: something is
        encrypted to each key alone, and opened again."""
        probe = os.urandom(32)
        return [
            name
            for name, key in self._keys.items()
            if identities.opens(_pyrage().encrypt(probe, [key]))
        ]


class Identities:
    """Private keys that open copies. They are in memory only, and nothing tells them."""

    def __init__(self, content: bytes) -> None:
        """Keys as a file has them: lines of age (one that begins with `#` is a remark), or one SSH
        key. Raises WrongKeyError where it holds none, SettingError where pyrage is missing."""
        require("age", "A private key")
        # As a browser sends what was pasted.
        content = content.replace(b"\r\n", b"\n")
        try:
            self._keys = _private_keys(content) if len(content) <= MAX_IDENTITY else []
        except (_pyrage().IdentityError, ValueError):
            self._keys = []
        if not self._keys:
            raise WrongKeyError(
                "What was given holds no private key that can be used: hand in a file as "
                "'age-keygen' makes it, or a private SSH key without a passphrase."
            )

    def opens(self, head: bytes) -> bool:
        """Whether a key opens the file of which these are the first bytes: all, or `HEAD` of them.
        Raises ArchiveError where it is damaged there, or none of age."""
        plain = io.BytesIO()
        try:
            _pyrage().decrypt_io(io.BytesIO(head), plain, self._keys)
        except (_pyrage().DecryptError, OSError) as error:
            failure = _why_not_decrypted(error)
            if isinstance(failure, WrongKeyError):
                return False
            # What follows the first chunk, which was whole, is not there.
            if not plain.tell():
                raise failure from None
        return True

    @contextmanager
    def decrypting(self, into: Writer) -> Iterator[Callable[[bytes], object]]:
        """Gives a function that takes the encrypted bytes; a thread writes the plain ones. Nothing
        of `into` counts before the end. Raises WrongKeyError where no key opens it, ArchiveError
        where it is damaged, and what `into` raises."""
        pipe, kept, failures = _Pipe(), _KeptWriter(into), list[BaseException]()

        def decrypt() -> None:
            try:
                _pyrage().decrypt_io(pipe, kept, self._keys)
            except BaseException as error:
                failures.append(kept.failure or _why_not_decrypted(error))
            finally:
                pipe.close()

        failure: BaseException | None = _ClosedError()
        with _running(decrypt, lambda: pipe.end(failure)):
            try:
                yield pipe.write
            except _ClosedError:
                # After what failed, or after the end of the encrypted file.
                failures.append(ArchiveError(_DAMAGED))
            else:
                failure = None
        if failures:
            raise failures[0] from None


def _private_keys(content: bytes) -> list[Any]:
    pyrage, text = _pyrage(), content.decode().strip()
    if text.startswith("-----BEGIN"):
        return [pyrage.ssh.Identity.from_buffer(content)]
    lines = [line.strip() for line in text.splitlines()]
    keys = [line for line in lines if line and not line.startswith("#")]
    return [pyrage.x25519.Identity.from_str(key) for key in keys]


def _why_not_decrypted(error: BaseException) -> BaseException:
    if isinstance(error, _pyrage().DecryptError) and "No matching keys" in str(error):
        return WrongKeyError("No key of those that were given opens it.")
    if isinstance(error, (_pyrage().DecryptError, OSError)):
        return ArchiveError(_DAMAGED)
    return error


def recipients_of(destination: Destination, setting: Sequence[str]) -> Recipients:
    """The recipients of the copies at a destination: its own, or those of the setting. Raises
    SettingError."""
    own = getattr(destination, "recipients", None)
    if own is None:
        return Recipients(setting, "HEXHUB_BACKUP_AGE_RECIPIENTS")
    return Recipients(own, _named(destination.name))


def check_recipients(keys: Sequence[str] | None, name: str) -> tuple[str, ...] | None:
    """The `recipients=` of the destination of a name. Raises SettingError."""
    if keys is None:
        return None
    Recipients(keys, _named(name))
    return tuple(keys)


def fingerprint(key: str) -> str:
    """What a public key is called: of an SSH key as `ssh-keygen -l` has it, of an age key the
    SHA-256 of its text in the same form."""
    data = base64.b64decode(key.split()[1]) if key.startswith("ssh-") else key.encode()
    return "SHA256:" + base64.b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")


def _named(destination: str) -> str:
    return f"recipients= of the destination {destination}"


def _recipient(key: str, named: str) -> Any:
    pyrage = _pyrage()
    kind = pyrage.ssh if key.startswith("ssh-") else pyrage.x25519
    try:
        return kind.Recipient.from_str(key)
    except pyrage.RecipientError:
        # One that was pasted by mistake may be a private key.
        raise SettingError(
            f"{named} has a text that is no public key of age: each has to be like 'age1…' (which "
            "'age-keygen -y' prints), 'ssh-ed25519 …' or 'ssh-rsa …'."
        ) from None


def _pyrage() -> Any:
    """Not before it is used: most apps encrypt nothing."""
    import pyrage  # type: ignore[import-untyped]

    return pyrage


@contextmanager
def _running(work: Callable[[], None], close: Callable[[], None]) -> Iterator[None]:
    """Run `work` in a thread meanwhile. `close` makes it end."""
    thread = threading.Thread(target=work, name="hexhub_backup_age", daemon=True)
    thread.start()
    try:
        yield
    finally:
        close()
        thread.join()


class _Kept:
    """A reader that keeps what it raises: pyrage passes only its words on."""

    def __init__(self, source: Reader) -> None:
        self.failure: BaseException | None = None
        self._source = source

    def read(self, size: int, /) -> bytes:
        try:
            return self._source.read(size)
        except BaseException as error:
            self.failure = error
            raise


class _KeptWriter:
    """A writer that keeps what it raises."""

    def __init__(self, into: Writer) -> None:
        self.failure: BaseException | None = None
        self._into = into

    def write(self, data: bytes) -> int:
        try:
            self._into.write(data)
        except BaseException as error:
            self.failure = error
            raise
        return len(data)

    def flush(self) -> None:
        """The file is flushed by whoever opened it."""


class _ClosedError(Exception):
    """Nobody reads any more."""


class _Pipe:
    """Bytes from one thread to another. Not the system's: a process that is forked meanwhile would
    hold its end open, and a greenlet that reads it would stop the one that writes."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._data = bytearray()
        self._ended = self._closed = False
        self._failure: BaseException | None = None

    def write(self, data: bytes) -> int:
        """Waits for room. Raises _ClosedError where nobody reads any more."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._data) < _MOST or self._closed)
            if self._closed:
                raise _ClosedError
            self._data += data
            self._changed.notify_all()
        return len(data)

    def flush(self) -> None:
        """What is written can be read at once."""

    def end(self, failure: BaseException | None) -> None:
        """Nothing more comes; after the last byte the reader gets `failure`, if there is one."""
        with self._changed:
            self._ended, self._failure = True, failure
            self._changed.notify_all()

    def read(self, size: int, /) -> bytes:
        with self._changed:
            self._changed.wait_for(lambda: self._data or self._ended)
            data = bytes(self._data[:size])
            del self._data[:size]
            self._changed.notify_all()
            if not data and self._failure is not None:
                raise self._failure
        return data

    def close(self) -> None:
        """Nobody reads any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
