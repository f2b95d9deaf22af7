"""Which names of files a file system takes for one."""

from __future__ import annotations

import tempfile
import unicodedata
from collections.abc import Callable
from pathlib import Path


def folding_of(folder: Path) -> Callable[[str], str] | None:
    """What makes one text of all paths that are one to the file system of `folder`, because they
    differ in case or in Unicode normal form only; None where it keeps all of them apart.

    Found out with a file in a folder of its own, which is removed. Raises OSError.
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
