"""The progress of an operation as a page shows it, folded from the kept events."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

#: A page shows so many of the latest lines; the kept events have all.
SHOWN_LINES = 200


@dataclass
class Step:
    """`state` is `waiting`, `running`, `done` or `stopped`."""

    name: str
    state: str = "waiting"
    seconds: float | None = None


@dataclass
class Timeline:
    """`lines` are the latest `log` and `warning` events, `progress` and `result` the last of
    their kind, `seq` that of the last event."""

    steps: dict[str, Step] = field(default_factory=dict)
    progress: dict[str, Any] | None = None
    lines: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=SHOWN_LINES))
    line_count: int = 0
    result: dict[str, Any] | None = None
    seq: int = 0

    @property
    def current(self) -> Step | None:
        """The step that is running, or was when the operation ended."""
        return next((step for step in self.steps.values() if step.state in _CURRENT), None)

    @property
    def done(self) -> int:
        return sum(step.state == "done" for step in self.steps.values())


_CURRENT = ("running", "stopped")


def timeline(events: Iterable[dict[str, Any]]) -> Timeline:
    """Fold the events of one operation, in order."""
    folded = Timeline()
    for event in events:
        folded.seq = event["seq"]
        if event["type"] == "state":
            folded.steps = {name: Step(name) for name in event["steps"]}
        elif event["type"] == "step":
            step = folded.steps.setdefault(event["step"], Step(event["step"]))
            step.state, step.seconds = event["state"], event.get("seconds")
        elif event["type"] == "progress":
            folded.progress = event
        elif event["type"] in ("log", "warning"):
            folded.lines.append(event)
            folded.line_count += 1
        elif event["type"] == "result":
            folded.result = event
            for step in folded.steps.values():
                if step.state == "running":
                    step.state = "stopped"
    return folded
