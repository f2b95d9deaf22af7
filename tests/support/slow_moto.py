"""`python -m tests.support.slow_moto --port N`: moto, with 10 ms of latency to each answer. It
tells what it was asked, and forgets that."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, run_simple

LATENCY = 0.010
#: Where it tells, as a list of JSON.
ASKED = "/what-was-asked"
App = Callable[[dict[str, Any], Any], Iterable[bytes]]


class Slow:
    """Each request of another app takes longer."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._asked: list[dict[str, str]] = []

    def __call__(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == ASKED:
            asked, self._asked = self._asked, []
            start("200 OK", [("Content-Type", "application/json")])
            return [json.dumps(asked).encode()]
        time.sleep(LATENCY)
        self._asked.append(
            {
                "method": environ["REQUEST_METHOD"],
                "path": environ["PATH_INFO"],
                "query": environ["QUERY_STRING"],
                "size": environ.get("CONTENT_LENGTH") or "0",
                "range": environ.get("HTTP_RANGE", ""),
            }
        )
        return self._app(environ, start)


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *_: Any) -> None:
        """Say nothing."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    app = Slow(DomainDispatcherApplication(create_backend_app))
    run_simple("127.0.0.1", parser.parse_args().port, app, threaded=True, request_handler=_Quiet)


if __name__ == "__main__":
    main()
