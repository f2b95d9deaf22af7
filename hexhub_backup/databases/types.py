"""Column types and options of our own tables that databases spell differently."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

#: A number of a record. In SQLite it is the rowid.
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
#: Up to the microsecond, which MariaDB drops where it is not told.
MOMENT = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
#: Of any length: MariaDB's TEXT has 64 KiB.
LONG_TEXT = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
#: Whatever the defaults of a MariaDB server are.
TABLE_OPTIONS: dict[str, Any] = {
    f"{dialect}_{option}": value
    for dialect in ("mysql", "mariadb")
    for option, value in {"engine": "InnoDB", "charset": "utf8mb4"}.items()
}


class UTCDateTime(sa.TypeDecorator[datetime]):
    """An aware datetime, kept as naive UTC: one rule for every database."""

    impl = MOMENT
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        return None if value is None else value.astimezone(timezone.utc).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=timezone.utc)
