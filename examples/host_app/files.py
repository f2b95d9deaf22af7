"""Where the package file and the docs file of a release are stored: a folder, or a bucket."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, Protocol, cast

from flask import Flask, current_app, send_from_directory
from werkzeug.exceptions import NotFound
from werkzeug.security import safe_join
from werkzeug.wrappers import Response

from hexhub_backup import LocalStorage, S3Storage

FileType = Literal["package", "docs"]
_FOLDERS: dict[FileType, str] = {"package": "packages", "docs": "docs"}
_NAME = "host_app_files"


class Files(Protocol):
    """What the registry does with its files, each of which has a path."""

    def new(self, path: str) -> AbstractContextManager[BinaryIO]:
        """A file that is empty, and stored at the end: the one before it is there until then."""

    def open(self, path: str) -> AbstractContextManager[BinaryIO]:
        """A file to be read from its beginning on. Raises NotFound."""

    def remove(self, path: str) -> None:
        """Remove a file, if there is one."""

    def stamp(self, path: str) -> str:
        """What is another where the file is another. Raises NotFound."""

    def send(self, path: str, *, mimetype: str, name: str) -> Response:
        """A download, called `name`, or 304 to who has it. Raises NotFound."""


def set_up(app: Flask) -> LocalStorage | S3Storage:
    """Let the app keep its files in the folder or bucket of its settings. Returns that as its
    backups see it."""
    place = str(app.config["HOST_APP_STORAGE"])
    if not place.startswith("s3://"):
        app.extensions[_NAME] = Folder(Path(place))
        return LocalStorage(place)
    # Only who has a bucket needs boto3.
    from examples.host_app.bucket import Bucket

    bucket, _, prefix = place.removeprefix("s3://").partition("/")
    endpoint = app.config["HOST_APP_BUCKET_ENDPOINT"]
    app.extensions[_NAME] = Bucket(bucket, prefix, endpoint)
    return S3Storage(bucket, prefix, endpoint=endpoint)


def of_app() -> Files:
    return cast(Files, current_app.extensions[_NAME])


def path_of(source: str, file_type: FileType, package: str, version: str) -> str:
    """Of a file that was published here, or cached from an upstream registry. HexHub calls the
    package file .tar.gz, though it is a plain tar."""
    folder = "hosted" if source == "local" else "cached"
    return f"{folder}/{_FOLDERS[file_type]}/{package}/{package}-{version}.tar.gz"


@dataclass(frozen=True)
class Folder:
    """Files in a folder; see `Files`."""

    root: Path

    @contextmanager
    def new(self, path: str) -> Iterator[BinaryIO]:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
        try:
            with part.open("xb") as file:
                yield file
            part.replace(place)
        finally:
            part.unlink(missing_ok=True)

    @contextmanager
    def open(self, path: str) -> Iterator[BinaryIO]:
        with self._place(path).open("rb") as file:
            yield file

    def remove(self, path: str) -> None:
        with suppress(NotFound):
            self._place(path).unlink(missing_ok=True)

    def stamp(self, path: str) -> str:
        found = self._place(path).stat()
        return f"{found.st_ino} {found.st_size} {found.st_mtime_ns}"

    def send(self, path: str, *, mimetype: str, name: str) -> Response:
        # What is named by a package stays in the folder of its type.
        of_source, of_type, rest = path.split("/", 2)
        return send_from_directory(
            self.root / of_source / of_type,
            rest,
            mimetype=mimetype,
            as_attachment=True,
            download_name=name,
        )

    def _place(self, path: str) -> Path:
        """The file of a path, which stays in the folder as that of a download does."""
        place = safe_join(str(self.root), path)
        if place is None or not Path(place).is_file():
            raise NotFound
        return Path(place)
