"""What all tests share."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _push_request_context() -> None:
    """pytest-flask would push a request context around every test that uses `app`, and
    Flask-Login keeps the user on it: a fresh client would look logged in."""
