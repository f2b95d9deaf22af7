"""Something that is wrong, as the state of the whole and alerts say it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["fine", "warning", "critical"]


@dataclass(frozen=True)
class Problem:
    """Something that is wrong: `text` says what, `action` what to do now. Codes are stable."""

    code: str
    level: Level
    text: str
    action: str
