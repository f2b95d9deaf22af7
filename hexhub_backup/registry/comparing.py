"""Staged records beside the host's rows, as Comparisons."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import compress, islice
from typing import Any

from hexhub_backup.registry.base import Comparison, State
from hexhub_backup.registry.changes import Change, change
from hexhub_backup.registry.fighting import Rule
from hexhub_backup.registry.mapping import MappedField
from hexhub_backup.registry.matching import Matched
from hexhub_backup.registry.staging import TOTP_ENABLED, UNKNOWN_PASSWORD
from hexhub_backup.registry.writing import totp_off


class Comparer:
    """Makes Comparisons of the rows that `SQLAlchemyRestoration.compare` selects."""

    def __init__(
        self,
        matched: Matched,
        rules: list[Rule],
        *,
        protected: Sequence[str],
        granted: bool,
        changes: bool,
    ) -> None:
        """`protected`: the fields of `Rights`."""
        self._fields = matched.staged.mapped.fields
        self._totp_rule = matched.staged.mapped.totp_secret is not None
        self._is_totp = matched.staged.is_totp
        self._protected = protected
        self._rules = rules
        self._granted = granted
        self._wants_changes = changes

    def comparison(self, row: Any) -> Comparison:
        n, key, shape, flags, found, shown, own, secret, rule, other, holds = row[:11]
        values = iter(row[11:])
        archived, current = (tuple(islice(values, len(self._fields))) for _ in range(2))
        held, now, after = (tuple(islice(values, len(self._protected))) for _ in range(3))
        would_hold = tuple(compress(self._protected, held))
        differs: list[str] = []
        changes: dict[str, Change | None] = {}
        protected: list[str] = []
        totp = bool(flags & TOTP_ENABLED)
        for at, field in enumerate(self._fields):
            if self._is_totp(field):
                if not found:
                    continue
                off = field.codec.same(current[at], totp_off(field))
                without = self._totp_rule and not secret
                totp = totp and (without or off)
                if without and not off:
                    differs.append(field.name)
                    changes[field.name] = ("true", "false")
            elif shape[at] == "1" and self._differs(field, archived[at], current[at], found):
                # What every new account gets is no right.
                if field.protected and (found or not self._protected or field.name in would_hold):
                    protected.append(field.name)
                if found and not field.volatile and (self._granted or not field.protected):
                    differs.append(field.name)
                    if self._wants_changes:
                        changes[field.name] = change(field, current[at], archived[at])
        hidden = bool(found) and not shown
        state: State = "create"
        if rule is not None:
            state = "blocked"
        elif found:
            state = "conflict" if differs or hidden else "unchanged"
        return Comparison(
            n=n,
            key=tuple(json.loads(key)),
            state=state,
            differs=tuple(differs),
            reason=None if rule is None else self._rules[rule].sentence(other or ""),
            hidden=hidden,
            own=bool(own),
            totp_dropped=totp,
            unknown_password=bool(flags & UNKNOWN_PASSWORD),
            protected=tuple(protected),
            holds=bool(holds),
            would_hold=would_hold,
            rights=dict(zip(self._protected, zip(now, after, strict=True), strict=True)),
            changes=changes if self._wants_changes and state == "conflict" else {},
        )

    @staticmethod
    def _differs(field: MappedField, archived: Any, current: Any, found: int) -> bool:
        if not found:
            return bool(archived)
        return not field.fixed and not field.codec.same(archived, current)
