"""Resumable uploads by tus 1.0 (https://tus.io/protocols/resumable-upload): the core protocol with
creation, expiration, termination and checksum.

What has come is an archive when all of it is there. The form of the page Restore takes it by its
id, with what else is chosen: a private key is in no upload.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from flask import Blueprint, Response, abort, current_app, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import BadRequest, ClientDisconnected, HTTPException
from werkzeug.http import http_date

from hexhub_backup.depot.base import ResumableUpload, UploadInfo
from hexhub_backup.depot.names import new_id
from hexhub_backup.errors import ArchiveError, BusyError, NotFoundError, SettingError
from hexhub_backup.history.store import utc_now
from hexhub_backup.jobs.ending import as_backup_error
from hexhub_backup.marking import marked
from hexhub_backup.operations.verify import HEAD
from hexhub_backup.verbs.remains import UPLOADS_STAY
from hexhub_backup.web import access, current, receiving

_VERSION = "1.0.0"
_ALGORITHMS = ("sha1", "sha256")
_MIB = 1024 * 1024
#: Bytes of the largest file: an object of S3 has no more.
_MOST = 5 * 1024**4
#: Bytes of a request of our page: proxies buffer no more.
_CHUNK = 8 * _MIB
#: Bytes of a request with a checksum, which is in memory until it has been compared.
_CHECKED = 16 * _MIB
#: Bytes that are read at a time.
_PIECE = 64 * 1024
#: Bytes of what a client says of its file.
_METADATA = 4 * 1024
#: Seconds without a byte, after which a line counts as lost.
_IDLE = 60
_TOO_LONG = "That is more than the length that was announced for the upload."
_GONE = "There is no such upload: upload the file again."


class ChecksumMismatch(HTTPException):
    """tus has a status of its own for it."""

    code = 460
    name = "Checksum Mismatch"
    description = marked(
        "The bytes are not those of the checksum, so none was kept: send them again."
    )


def add_to(blueprint: Blueprint) -> None:
    """Give the blueprint the addresses of uploads."""
    collection, upload = access.RESUMABLE
    for rule, name, view, methods in (
        ("/uploads", collection, answer_collection, ["POST", "OPTIONS"]),
        (
            "/uploads/<upload_id>",
            upload,
            answer_upload,
            ["HEAD", "PATCH", "DELETE", "POST", "OPTIONS"],
        ),
    ):
        blueprint.add_url_rule(rule, name, view, methods=methods, provide_automatic_options=False)
    blueprint.after_request(_tell_version)


def chunk_size() -> int:
    """Bytes that our page sends in one request, which the host's limit allows."""
    return min(_CHUNK, current_app.config["MAX_CONTENT_LENGTH"] or _CHUNK)


def file_name(info: UploadInfo) -> str | None:
    """What the client calls the file. Aborts with 400 where the metadata are malformed."""
    for pair in info.metadata.split(","):
        key, _, value = pair.strip().partition(" ")
        if key == "filename" and value:
            return receiving.plain_name(_decoded(value, "Upload-Metadata").decode(errors="replace"))
    return None


@contextmanager
def opened(upload_id: str, *, alone: bool) -> Iterator[ResumableUpload]:
    """An upload of whoever asks, `alone` in order to change it. Aborts with 404 where there is
    none, 410 where it is too old, and 423 where another request writes it."""
    with ExitStack() as stack:
        try:
            depot = current.backups().depot
            upload = stack.enter_context(depot.resumable(upload_id, alone=alone))
        except BusyError:
            abort(423, "Another request is writing this upload: try again in a moment.")
        except NotFoundError:
            abort(404, _GONE)
        if upload.info.owner != current.who().actor:
            abort(404, _GONE)
        if utc_now().timestamp() > upload.written + UPLOADS_STAY.total_seconds():
            abort(410, "This upload is more than a day old: upload the file again.")
        yield upload


# what clients ask


def answer_collection() -> ResponseReturnValue:
    """OPTIONS: what is possible. POST: begin an upload."""
    if request.method == "OPTIONS":
        return _options()
    _check_version()
    backups, depot = current.backups(), current.backups().depot
    metadata = request.headers.get("Upload-Metadata", "")
    if len(metadata) > _METADATA:
        abort(400, f"Upload-Metadata has at most {_METADATA // 1024} KiB.")
    info = UploadInfo(_number("Upload-Length"), current.who().actor, metadata)
    name = file_name(info)
    if info.length > _MOST:
        abort(413, f"A file has at most {_MOST // 1024**4} TiB.")
    # Rather before a long upload than after it.
    with backups.coordinator.exclusive():
        pass
    receiving.check_announced(depot, info.length)
    if info.length == 0:
        receiving.check_kind(b"", name)
    upload_id = new_id()
    try:
        depot.new_resumable(upload_id, info)
    except OSError as error:
        raise as_backup_error(error, "upload") from error
    address = url_for(".upload", upload_id=upload_id)
    return "", 201, {"Location": address, **_expires(utc_now().timestamp())}


def answer_upload(upload_id: str) -> ResponseReturnValue:
    """HEAD: how far an upload is. PATCH: what comes next of it. DELETE: forget it. A client that
    can send none of these says in a header of a POST which one it means."""
    method = request.method
    if method == "OPTIONS":
        return _options()
    _check_version()
    if method == "POST":
        method = request.headers.get("X-HTTP-Method-Override", "")
    answers: dict[str, Callable[[str], ResponseReturnValue]] = {
        "HEAD": _head,
        "PATCH": _patch,
        "DELETE": _delete,
    }
    if method not in answers:
        abort(405, "Say PATCH, HEAD or DELETE in X-HTTP-Method-Override.")
    return answers[method](upload_id)


def _options() -> ResponseReturnValue:
    return (
        "",
        204,
        {
            "Tus-Version": _VERSION,
            "Tus-Extension": "creation,expiration,termination,checksum",
            "Tus-Checksum-Algorithm": ",".join(_ALGORITHMS),
            "Tus-Max-Size": str(_MOST),
        },
    )


def _head(upload_id: str) -> ResponseReturnValue:
    with opened(upload_id, alone=False) as upload:
        headers = {
            "Upload-Offset": str(upload.offset),
            "Upload-Length": str(upload.info.length),
            **_expires(upload.written),
        }
        if upload.info.metadata:
            headers["Upload-Metadata"] = upload.info.metadata
    return "", 200, headers


def _patch(upload_id: str) -> ResponseReturnValue:
    if request.mimetype != "application/offset+octet-stream":
        abort(415, "Send the bytes as application/offset+octet-stream.")
    offset = _number("Upload-Offset")
    # That of the host: it holds for each request, and not for the whole.
    request.max_content_length = None
    with opened(upload_id, alone=True) as upload:
        if offset != upload.offset:
            abort(409, f"{upload.offset} bytes of this upload are here: go on there.")
        if (request.content_length or 0) > upload.info.length - offset:
            abort(413, _TOO_LONG)
        try:
            _receive(upload)
            if upload.offset == upload.info.length:
                upload.complete()
        except (ArchiveError, SettingError):
            upload.discard()
            raise
        except OSError as error:
            raise as_backup_error(error, "upload") from error
        headers = {"Upload-Offset": str(upload.offset), **_expires(utc_now().timestamp())}
    return "", 204, headers


def _delete(upload_id: str) -> ResponseReturnValue:
    with opened(upload_id, alone=True) as upload:
        upload.discard()
    return "", 204


# what comes


def _receive(upload: ResumableUpload) -> None:
    """Write the request's body, as much of it as comes: that stays when the line is lost. Aborts
    with 400, 413 and 460; raises ArchiveError, SpaceError, SettingError, OSError."""
    depot, offset, length = current.backups().depot, upload.offset, upload.info.length
    head = bytearray(upload.head(HEAD) if offset < HEAD else b"")
    pieces = _pieces(offset)
    if "Upload-Checksum" in request.headers:
        pieces = iter([_checked(pieces)])
    try:
        for piece in pieces:
            before, offset = offset, offset + len(piece)
            if offset > length:
                abort(413, _TOO_LONG)
            if before < HEAD:
                head += piece[: HEAD - before]
                if offset >= min(HEAD, length):
                    receiving.check_kind(bytes(head), file_name(upload.info))
            receiving.check_room(depot, before, len(piece))
            upload.write(piece)
    finally:
        upload.keep()


def _pieces(offset: int) -> Iterator[bytes]:
    """The request's body as it comes. The first bytes of a file are alone: they are looked at."""
    # Nobody hangs up on a line that was lost, and the upload would stay locked.
    for server in ("gunicorn.socket", "werkzeug.socket"):
        if server in request.environ:
            request.environ[server].settimeout(_IDLE)
    # To look for an end after that would be to ask for more than the host's limit.
    left = request.content_length
    while left != 0:
        try:
            piece = request.stream.read(max(HEAD - offset, 0) or _PIECE)
        except (OSError, ClientDisconnected):
            raise BadRequest(
                marked(
                    "The connection was lost, or nothing came for a minute: go on where it ended."
                )
            ) from None
        if not piece:
            return
        offset += len(piece)
        if left is not None:
            left -= len(piece)
        yield piece


def _checked(pieces: Iterator[bytes]) -> bytes:
    """All of the body, if it has the checksum that was sent with it. Aborts with 400, 413, 460."""
    algorithm, _, value = request.headers["Upload-Checksum"].partition(" ")
    if algorithm not in _ALGORITHMS:
        abort(400, f"Upload-Checksum takes {' or '.join(_ALGORITHMS)}.")
    checksum, body = _decoded(value, "Upload-Checksum"), bytearray()
    for piece in pieces:
        body += piece
        if len(body) > _CHECKED:
            abort(413, f"A request with a checksum has at most {_CHECKED // _MIB} MiB.")
    if hashlib.new(algorithm, body, usedforsecurity=False).digest() != checksum:
        raise ChecksumMismatch
    return bytes(body)


# headers


def _tell_version(response: Response) -> Response:
    if any(map(access.is_endpoint, access.RESUMABLE)):
        response.headers["Tus-Resumable"] = _VERSION
        if response.status_code == 412:
            response.headers["Tus-Version"] = _VERSION
    return response


def _check_version() -> None:
    if request.headers.get("Tus-Resumable") != _VERSION:
        abort(412, f"Uploads are by tus {_VERSION}: say so in the header Tus-Resumable.")


def _number(header: str) -> int:
    """Aborts with 400 where a header holds no number of bytes."""
    value = request.headers.get(header, "")
    if not (value.isascii() and value.isdigit() and len(value) < 20):
        abort(400, f"{header} has to be a number of bytes.")
    return int(value)


def _decoded(value: str, header: str) -> bytes:
    """Aborts with 400 where a header's value is no Base64."""
    try:
        return base64.b64decode(value, validate=True)
    except ValueError:
        abort(400, f"{header} has a value that is no Base64.")


def _expires(written: float) -> dict[str, str]:
    return {"Upload-Expires": http_date(written + UPLOADS_STAY.total_seconds())}
