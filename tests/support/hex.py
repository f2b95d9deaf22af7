"""Package files as a project of mix would publish them."""

from __future__ import annotations

import io
from typing import Any

from examples.host_app import hex_tarball


def package_file(name: str = "own", version: str = "0.1.0", **metadata: Any) -> bytes:
    """One of a release, with this metadata over what is usual."""
    file = io.BytesIO()
    usual = {
        "name": name,
        "app": name,
        "version": version,
        "description": "Of our own",
        "licenses": ["MIT"],
        "links": {"Source": "https://git.example.com/own"},
        "build_tools": ["mix"],
        "elixir": "~> 1.14",
        "requirements": [
            {"name": "jason", "app": "jason", "optional": True, "requirement": "~> 1.0",
             "repository": "hexpm"},
        ],
    }  # fmt: skip
    hex_tarball.write_package(file, {**usual, **metadata}, {"mix.exs": version.encode()})
    return file.getvalue()
