"""How long a test waits for something: it decides when to give up, on a busy machine too, and is
never how long something may take."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

#: Seconds.
PATIENCE = 300.0


def wait_for(condition: Callable[[], Any]) -> Any:
    """Look again and again until something is true, and return it."""
    until = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < until, "it never came"
        time.sleep(0.02)
    return found
