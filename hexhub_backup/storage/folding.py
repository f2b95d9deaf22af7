"""Which file names a file system treats as equal."""

from __future__ import annotations

import tempfile
import unicodedata
from collections.abc import Callable
from pathlib import Path


def folding_of(folder: Path) -> Callable[[str], str] | None:
    """A function that returns the same text for all paths that are equal to the file system of
    `folder`, though they differ in case or Unicode normal form; None where no such paths are equal.

    It creates a file in a temporary folder to find out. Raises OSError.
    """
    with tempfile.TemporaryDirectory(prefix="probe-", dir=folder) as place:
        (Path(place) / "a\u00e9").touch()
        case = (Path(place) / "A\u00e9").exists()
        forms = (Path(place) / "ae\u0301").exists()
    if not case and not forms:
        return None

    def folded(path: str) -> str:
        composed = unicodedata.normalize("NFC", path) if forms else path
        if not case:
            return composed
        return unicodedata.normalize("NFC", composed.casefold()) if forms else composed.casefold()

    return folded
