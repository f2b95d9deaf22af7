"""gunicorn, with every temporary file that is opened written to `TRACED_TEMPORARY_FILES`."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Any

from gunicorn.app.wsgiapp import run  # type: ignore[import-untyped]


def trace(event: str, arguments: tuple[Any, ...]) -> None:
    # An audit hook sees the files without a name (O_TMPFILE) as well.
    if event == "open" and str(arguments[0]).startswith(os.environ["TMPDIR"]):
        with Path(os.environ["TRACED_TEMPORARY_FILES"]).open("a") as file:
            file.write(f"{arguments}\n{''.join(traceback.format_stack())}\n")


if __name__ == "__main__":
    sys.addaudithook(trace)
    run()
