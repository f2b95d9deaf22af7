"""Why somebody may not do what they ask for."""

from __future__ import annotations


class RefusedError(Exception):
    """What is wrong with a request: the field of it, and a sentence without its full stop."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class NotOwnerError(Exception):
    """Only an owner may do this."""
