"""What tests upload, and a client of tus that sends single requests."""

from __future__ import annotations

import base64
import io
import os
import socket
from dataclasses import dataclass
from typing import Any

from flask import Flask
from werkzeug.test import TestResponse

from hexhub_backup.archive.rules import tar
from tests.support.patience import PATIENCE
from tests.support.serving import PREFIX, Address, Visitor

#: What a tar begins with, of which the rest is wrong.
TAR = tar.block(b"manifest.json", 1000)


class NeverRead(io.RawIOBase):
    """A body that must not be read."""

    def __init__(self, length: int) -> None:
        self._length, self._position = length, 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = offset + (self._length if whence == os.SEEK_END else 0)
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1) -> bytes:
        raise AssertionError("the body was read")


def metadata(name: str) -> str:
    return f"filename {base64.b64encode(name.encode()).decode()},filetype"


@dataclass(frozen=True)
class Tus:
    """Requests of a visitor to an app in this process."""

    app: Flask
    who: Visitor

    def request(self, method: str, path: str, data: Any = b"", **headers: Any) -> TestResponse:
        """A header that is None is not sent."""
        named = {
            **self.who.headers,
            "X-CSRFToken": self.who.token,
            "Tus-Resumable": "1.0.0",
            "Accept": "application/json",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        options = {"data": data} if isinstance(data, bytes) else {"input_stream": data}
        return self.app.test_client(use_cookies=False).open(
            path,
            method=method,
            headers={name: str(each) for name, each in named.items() if each is not None},
            **options,
        )

    def create(self, length: int, name: str = "mine.tar", **headers: Any) -> str:
        """The address of a new upload."""
        answer = self.request(
            "POST",
            f"{PREFIX}/uploads",
            Upload_Length=length,
            Upload_Metadata=metadata(name),
            **headers,
        )
        assert answer.status_code == 201, answer.text
        return str(answer.location)

    def patch(self, upload: str, offset: int, data: Any, **headers: Any) -> TestResponse:
        given = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": offset}
        return self.request("PATCH", upload, data, **{**given, **headers})

    def offset(self, upload: str) -> int:
        answer = self.request("HEAD", upload)
        assert answer.status_code == 200, answer.status
        return int(answer.headers["Upload-Offset"])

    def restore(self, upload: str, **form: str) -> TestResponse:
        """Send the form of the page Restore for a complete upload."""
        fields = {"csrf_token": self.who.token, "upload": upload.rpartition("/")[2], **form}
        return self.app.test_client(use_cookies=False).post(
            f"{PREFIX}/restore",
            headers={**self.who.headers, "Accept": "application/json"},
            data=fields,
            content_type="multipart/form-data",
        )


def _of_a_piece(who: Visitor, offset: int) -> dict[str, str]:
    return {
        **who.headers,
        "X-CSRFToken": who.token,
        "Tus-Resumable": "1.0.0",
        "Content-Type": "application/offset+octet-stream",
        "Upload-Offset": str(offset),
    }


def sent(address: Address, who: Visitor, upload: str, offset: int, data: bytes) -> int:
    """Send a piece to a server; gives the status of its answer."""
    return address.request("PATCH", upload, Visitor(_of_a_piece(who, offset)), data)[0]


def begun(
    address: Address, who: Visitor, upload: str, offset: int, data: bytes, *, of: int
) -> socket.socket:
    """Begin to send a piece `of` so many bytes, of which these come."""
    lines = [
        f"PATCH {upload} HTTP/1.1",
        "Host: 127.0.0.1",
        f"Content-Length: {of}",
        *(f"{name}: {value}" for name, value in _of_a_piece(who, offset).items()),
    ]
    connection = socket.create_connection(("127.0.0.1", address.port), timeout=PATIENCE)
    connection.sendall("\r\n".join([*lines, "", ""]).encode() + data)
    return connection
