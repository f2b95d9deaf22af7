"""Copies and destinations for a terminal, and as documents have them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hexhub_backup import formatting
from hexhub_backup.history.models import Copy
from hexhub_backup.operations.check import STEPS, Checked
from hexhub_backup.retention import held_text


def copy_row(copy: Copy) -> dict[str, Any]:
    """A copy, as a document has it."""
    left_out = ("operation_id", "held", "expires_at")
    return {name: value for name, value in vars(copy).items() if name not in left_out}


def stays_text(row: Mapping[str, Any], until: str, what: str = "") -> str:
    """`until` when, or by `what`, a backup or a copy stays."""
    if row["expires_at"]:
        return f"{until} {row['expires_at']:%Y-%m-%d}".lstrip()
    return f"{what} {held_text(row['held'])}".lstrip()


def copy_text(copy: Mapping[str, Any]) -> str:
    """The state of a copy in one line, with what holds it where that is known."""
    parts = [str(copy["state"])]
    if copy["verified_at"] is not None:
        integrity = "intact" if copy["intact"] else "damaged"
        parts.append(f"{integrity} ({formatting.time(copy['verified_at'])})")
    if copy["recipients"]:
        parts.append(f"opens with {' or '.join(copy['recipients'])}")
    if "held" in copy and copy["state"] == "copied":
        parts.append(stays_text(copy, "until"))
    if copy["locked_until"] is not None:
        parts.append(f"locked until {formatting.time(copy['locked_until'])}")
    if copy["due_at"] is not None:
        parts.append(f"next attempt {formatting.time(copy['due_at'])}")
    return ", ".join(parts) + (f": {copy['reason']}" if copy["reason"] else "")


def destination_lines(row: Mapping[str, Any]) -> Iterator[str]:
    """A destination in the list, and what there is to know of it."""
    free = "" if row["free"] is None else f", {formatting.size(row['free'])} free"
    yield f"{row['name']:<12}  {'ready' if row['ready'] else 'not ready'}  {row['location']}{free}"
    for text in (row["reason"], *row["notes"]):
        if text:
            yield f"    {text}"


def check_lines(found: Checked) -> Iterator[str]:
    """What a check of a destination has found, step by step."""
    yield f"{found.name} {'can' if found.ok else 'cannot'} take a copy."
    for step in found.steps:
        failed = "" if step.ok else f"Could not {STEPS[step.name]}. "
        yield f"    {'ok' if step.ok else 'FAILED':<6}  {failed}{step.text}"
    for note in found.notes:
        yield f"    {note}"
