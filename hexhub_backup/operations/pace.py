"""Reading that is in nobody's way: no faster than it may, and nothing of it stays in memory."""

from __future__ import annotations

import time
from collections.abc import Callable

#: Seconds between two looks, while it waits, for a reason to stop.
_LOOK_EVERY = 0.2
#: Bytes after which the system is told again.
_FORGET_EVERY = 8 << 20


class Pace:
    """Of one file that is read from its beginning to its end by somebody else.

    `forget` has the system drop what it remembers of it, which would push out what others need;
    None where it is none of this machine. `rate` is in bytes a second, on average; 0 is as fast as
    can be.
    """

    def __init__(
        self,
        forget: Callable[[], object] | None,
        rate: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._forget = forget
        self._rate = rate
        self._clock = clock
        self._sleep = sleep
        self._started = clock()
        self._done = self._told = 0

    def passed(self, size: int, check: Callable[[], None]) -> None:
        """So many more bytes were read. Waits where that was too fast; `check`, which is called
        now and then, may raise."""
        self._done += size
        if self._done >= self._told + _FORGET_EVERY:
            self.forget()
        while self._rate and (early := self._done / self._rate - self._elapsed()) > 0:
            check()
            self._sleep(min(early, _LOOK_EVERY))

    def _elapsed(self) -> float:
        return self._clock() - self._started

    def forget(self) -> None:
        """Drop what was read from the system's cache."""
        self._told = self._done
        if self._forget is not None:
            self._forget()
