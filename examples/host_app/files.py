"""Where the package file and the docs file of a release are stored."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from flask import current_app

FileType = Literal["package", "docs"]
_FOLDERS: dict[FileType, str] = {"package": "packages", "docs": "docs"}


def folder(source: str, file_type: FileType) -> Path:
    """The folder of one type of files: published here, or cached from an upstream registry."""
    root: Path = current_app.config["HOST_APP_STORAGE"]
    return root / ("hosted" if source == "local" else "cached") / _FOLDERS[file_type]


def file_name(package: str, version: str) -> str:
    """The path of a file in its folder. HexHub calls the package file .tar.gz, though it is a
    plain tar."""
    return f"{package}/{package}-{version}.tar.gz"
