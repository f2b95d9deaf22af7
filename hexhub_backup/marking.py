"""Marks texts for translation where they stand in tables: what is said directly is found by itself.

`tools/messages.py` collects the marked texts, the messages of errors, and those of the templates.
"""

from __future__ import annotations


def marked(text: str) -> str:
    """A text that a page says in the language of its reader."""
    return text


def marked_plural(one: str, many: str) -> tuple[str, str]:
    """The same, for one thing and for any other number of them, which is `{count}`."""
    return one, many
