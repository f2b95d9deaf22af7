"""A configuration of gunicorn that says in its log when a worker has booted."""

from __future__ import annotations

import sys
from typing import Any

BOOTED = "has booted"


def post_worker_init(worker: Any) -> None:
    print(f"Worker {worker.pid} {BOOTED}", file=sys.stderr, flush=True)
