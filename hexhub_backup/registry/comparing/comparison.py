"""Staged records beside the host's rows, as Comparisons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import compress
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import ColumnElement, FromClause

from hexhub_backup.archive.changes import Change
from hexhub_backup.archive.records import USERS, of_json
from hexhub_backup.databases.base import Database
from hexhub_backup.registry.base import Comparison, State
from hexhub_backup.registry.comparing.changes import change
from hexhub_backup.registry.comparing.decoding import TOTP_ENABLED, UNKNOWN_PASSWORD
from hexhub_backup.registry.comparing.matching import Matched
from hexhub_backup.registry.comparing.rights import Rights
from hexhub_backup.registry.comparing.unique_conflicts import Rule
from hexhub_backup.registry.mapping.mapped_kinds import MappedField
from hexhub_backup.registry.queries import Expression, has_secret

# How JSON begins that is an object, an array or a word.
_NOT_NUMBERS = ("{", "[", "n", "t", "f")
# Types whose equal values are the same to every database: a number of another may be NaN.
_EXACT = (sa.Integer, sa.Boolean, sa.DateTime, sa.Date)


def totp_off(field: MappedField) -> Any:
    """What the column holds where there is no second factor."""
    off = False
    return field.codec.decode(off)


def _reason(row: Any, rules: Sequence[Rule]) -> str:
    rule: Rule = rules[row.rule]
    return rule.sentence(row.other or "")


class Comparer:
    """Selects the staged records of a kind with the host's rows beside them, and makes a
    Comparison of each.

    `shown` says of a row that the host does not hide it, `own` that it is the acting admin's.
    `blocked` is the table of what is blocked. The columns of the select have names of ours:
    `archived_` and the number of a field is what the record has there, `current_` what the row has.
    """

    def __init__(
        self,
        matched: Matched,
        rights: Rights,
        blocked: sa.Table,
        database: Database,
        *,
        shown: ColumnElement[bool],
        own: ColumnElement[bool],
        granted: bool,
    ) -> None:
        staged = matched.staged
        self._matched = matched
        self._rights = rights
        self._blocked = blocked
        self._database = database
        self._shown = shown
        self._own = own
        self._granted = granted
        self._protected = [field.name for field in rights.fields]
        self._has_secrets = staged.mapped.totp_secret is not None
        fields = list(enumerate(staged.mapped.fields))
        self._totp = {f"current_{at}": field for at, field in fields if staged.is_totp(field)}
        self._compared = [
            (at, field, f"archived_{at}", f"current_{at}")
            for at, field in fields
            if not field.fixed
        ]
        self._granted_on_create = [
            (at, field.name, f"archived_{at}")
            for at, field in fields
            if field.protected and not staged.is_totp(field)
        ]
        # Of an account, and of what a grant may give, more is asked than what the fields hold.
        self._is_plain = (
            staged.mapped.kind is not USERS and not self._granted_on_create and not self._protected
        )
        self.select = cache(self._select)

    def _select(self, *, skip_new: bool, skip_same: bool, is_empty: bool) -> sa.Select[Any]:
        """See `Restoration.compare`; without an order. `is_empty` says that the host has no row:
        then little is selected, as there is nothing to compare with."""
        matched = self._matched
        mapped, table = matched.staged.mapped, matched.staged.table
        columns: list[Any]
        if is_empty and self._is_plain:
            columns = [table.c.n, table.c.key, sa.literal(0).label("found")]
            return self._beside_blocked(columns, table, sa.false(), skip_new=skip_new)
        secret: Expression = sa.true()
        if mapped.totp_secret is not None:
            secret = has_secret(mapped.totp_secret)
        flags = {"found": matched.found, "shown": self._shown, "own": self._own, "secret": secret}
        columns = [
            *(table.c[name] for name in ("n", "key", "shape", "flags")),
            *(sa.case((flag, 1), else_=0).label(name) for name, flag in flags.items()),
            sa.case((self._rights.here, 1), else_=0).label("holds"),
            self._is_same().label("same"),
        ]
        for at, field in enumerate(mapped.fields):
            archived, current = self._values(field)
            columns += [archived.label(f"archived_{at}"), current.label(f"current_{at}")]
        per_right = zip(self._rights.archived, self._rights.now, self._rights.after, strict=True)
        for at, (would_hold, now, after) in enumerate(per_right):
            columns += [
                sa.case((would_hold, 1), else_=0).label(f"would_hold_{at}"),
                now.label(f"now_{at}"),
                after.label(f"after_{at}"),
            ]
        return self._beside_blocked(
            columns, matched.source, matched.found, skip_new=skip_new, skip_same=skip_same
        )

    def _beside_blocked(
        self,
        columns: Sequence[Any],
        source: FromClause,
        found: ColumnElement[bool],
        *,
        skip_new: bool,
        skip_same: bool = False,
    ) -> sa.Select[Any]:
        blocked, staged = self._blocked, self._matched.staged
        table, kind = staged.table, staged.mapped.kind
        select = sa.select(*columns, blocked.c.rule, blocked.c.other).select_from(
            source.outerjoin(
                blocked, sa.and_(blocked.c.kind == kind.name, blocked.c.n == table.c.n)
            )
        )
        new = sa.and_(table.c.action.is_not(None), table.c.action == "create")
        if skip_new:
            seen = sa.or_(found, blocked.c.rule.is_not(None))
            select = select.where(sa.or_(sa.not_(new), seen))
        if skip_same:
            other = self._is_same() == 0
            select = select.where(sa.or_(new, other) if skip_new else other)
        return select

    def _is_same(self) -> ColumnElement[int]:
        """1 where the host shows a row that holds the very values of its record, and nothing else
        is held against that."""
        # The rights and the second factor of an account are not only what its fields hold.
        if self._matched.staged.mapped.kind is USERS:
            return sa.literal(0)
        is_free = self._blocked.c.rule.is_(None)
        same = sa.and_(self._matched.found, self._shown, is_free, *self._same())
        return sa.case((same, 1), else_=0)

    def _same(self) -> Iterator[ColumnElement[bool]]:
        """That a row holds the very values of its record. Values which the database takes for the
        same are so to a codec, of these types; what is of another has to be looked at."""
        staged, in_bytes = self._matched.staged, self._database.in_byte_order
        for _, field, _, _ in self._compared:
            if field.volatile or (field.protected and not self._granted):
                continue
            archived: Expression = staged.values[field.name]
            current = self._matched.current[field.name]
            same: ColumnElement[bool] = sa.false()
            if field.codec.json is None:
                # Nobody knows what the host's own pair makes of it.
                pass
            elif isinstance(field.column.type, sa.JSON):
                same = sa.or_(
                    sa.and_(archived.is_(sa.null()), current.is_(sa.null())),
                    self._same_json(archived, current),
                )
            elif isinstance(field.column.type, sa.String):
                same = in_bytes(current).is_not_distinct_from(in_bytes(archived))
            elif isinstance(field.column.type, _EXACT):
                same = current.is_not_distinct_from(archived)
            yield sa.or_(same, sa.not_(staged.has(field)))

    def _same_json(self, archived: Expression, current: Expression) -> ColumnElement[bool]:
        """Both are the same text in JSON. Numbers are not compared by their texts, which SQLite
        rounds."""
        text, in_bytes = sa.cast(current, sa.Text()), self._database.in_byte_order
        return sa.and_(
            sa.func.substr(text, 1, 1).in_(_NOT_NUMBERS),
            in_bytes(text) == in_bytes(sa.cast(archived, sa.Text())),
        )

    def _values(self, field: MappedField) -> tuple[Expression, Expression]:
        """What the record and the row hold. Neither where both are the text of the same object or
        array in JSON: parsing them takes longer than all the rest. Nor has that of a new row to be
        made a value of, unless it may be a right."""
        archived: Expression = self._matched.staged.values[field.name]
        current = self._matched.current[field.name]
        if field.protected:
            return archived, current
        if not isinstance(field.column.type, sa.JSON):
            return sa.case((self._matched.found, archived)), current
        same = self._same_json(archived, current)
        look = sa.and_(self._matched.found, sa.case((same, 0), else_=1) == 1)
        return sa.case((look, archived)), sa.case((look, current))

    def comparison(self, row: Any, rules: Sequence[Rule], *, changes: bool) -> Comparison:
        """Of one row of `select`, where `rules` block; with what `changes`, if it is wanted."""
        found = bool(row.found)
        if self._is_plain and (not found or row.same):
            if row.rule is not None:
                return Comparison(row.n, of_json(row.key), "blocked", reason=_reason(row, rules))
            return Comparison(row.n, of_json(row.key), "unchanged" if found else "create")
        would_hold = tuple(compress(self._protected, self._by_right(row, "would_hold")))
        differs: list[str] = []
        changed: dict[str, Change | None] | None = {} if changes else None
        protected = self._compare(row, differs, changed) if found else self._new(row, would_hold)
        hidden = found and not row.shown
        state: State = "create"
        if row.rule is not None:
            state = "blocked"
        elif found:
            state = "conflict" if differs or hidden else "unchanged"
        rights = zip(self._by_right(row, "now"), self._by_right(row, "after"), strict=True)
        return Comparison(
            n=row.n,
            key=of_json(row.key),
            state=state,
            differs=tuple(differs),
            reason=None if row.rule is None else _reason(row, rules),
            hidden=hidden,
            own=bool(row.own),
            totp_dropped=bool(row.flags & TOTP_ENABLED) and not (found and self._keeps_totp(row)),
            unknown_password=bool(row.flags & UNKNOWN_PASSWORD),
            protected=tuple(protected),
            holds=bool(row.holds),
            would_hold=would_hold,
            rights=dict(zip(self._protected, rights, strict=True)),
            changes=changed or {} if state == "conflict" else {},
        )

    def _compare(
        self, row: Any, differs: list[str], changed: dict[str, Change | None] | None
    ) -> list[str]:
        """Adds the fields in which a record differs from its row to `differs`, and what changes
        to `changed`, if that is wanted. Returns those that a grant would change."""
        protected: list[str] = []
        for at, field, archived_name, current_name in self._compared:
            if current_name in self._totp:
                if self._loses_totp(row, current_name):
                    differs.append(field.name)
                    if changed is not None:
                        changed[field.name] = ("true", "false")
                continue
            archived, current = getattr(row, archived_name), getattr(row, current_name)
            if row.shape[at] != "1" or field.codec.same(archived, current):
                continue
            if field.protected:
                protected.append(field.name)
            if not field.volatile and (self._granted or not field.protected):
                differs.append(field.name)
                if changed is not None:
                    changed[field.name] = change(field, current, archived)
        return protected

    def _new(self, row: Any, would_hold: tuple[str, ...]) -> list[str]:
        """What a grant would give a record that is not there. What every new account gets is not
        a right."""
        return [
            name
            for at, name, archived_name in self._granted_on_create
            if row.shape[at] == "1"
            and getattr(row, archived_name)
            and (not self._protected or name in would_hold)
        ]

    def _loses_totp(self, row: Any, current: str) -> bool:
        """The row says that there is a second factor, and has no secret for one."""
        return self._has_secrets and not row.secret and not self._is_off(row, current)

    def _keeps_totp(self, row: Any) -> bool:
        """The row's second factor is on, and stays so."""
        return any(
            not self._is_off(row, current) and not self._loses_totp(row, current)
            for current in self._totp
        )

    def _is_off(self, row: Any, current: str) -> bool:
        field = self._totp[current]
        return field.codec.same(getattr(row, current), totp_off(field))

    def _by_right(self, row: Any, name: str) -> list[Any]:
        return [getattr(row, f"{name}_{at}") for at in range(len(self._protected))]
