"""What is declared of a code of a notice: how serious it is, and all words for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Literal

from hexhub_backup import formatting

#: `bad` can do harm, `warn` needs a look, `info` is good to know.
Severity = Literal["bad", "warn", "info"]


@dataclass(frozen=True)
class NoticeCode:
    """A code, which is stable, and all words for it.

    `summary` says what the code means, for the manual. `one` and `many` are the title of one
    notice and of several, with `{count}`; `advice` says what that means for the admin, and what to
    do. `sentences` are messages about one record, by a name, with named placeholders; without them
    there is one that is a reason alone.
    """

    name: str
    severity: Severity
    summary: str
    _: KW_ONLY
    one: str
    many: str
    advice: str
    sentences: Mapping[str, str] = field(default_factory=lambda: {"found": "{reason}"})
    #: For files: the advice where the restore replaces none, which makes the notice an `info`.
    advice_if_kept: str = ""
    #: Whether an operation warns of it; if not, it stands in plans only.
    is_warning: bool = True

    def title(self, count: int) -> str:
        return formatting.plural(count, self.one, self.many)
