"""What `make test` tries of the values of a parameter."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def first(values: Iterable[Any]) -> list[Any]:
    """The values of a parameter. The first runs everywhere, the others in the matrix alone."""
    return [
        value if number == 0 else pytest.param(value, marks=pytest.mark.matrix)
        for number, value in enumerate(values)
    ]
