"""What may happen in a database, and what to do then: the same words for each of them."""

from __future__ import annotations

from hexhub_backup.marking import marked

_AGAIN = marked("Start again.")
FIX = marked("Fix that and start again.")
_ROOM = marked("Make room there and start again.")
_LOG = marked("See its log.")

REFUSED = (marked("the database refused it"), FIX)

# About a record.
TOO_LONG = (marked("a value is too long for its column"), FIX)
OUT_OF_RANGE = (marked("a number is outside the range of its column"), FIX)
NO_VALUE = (marked("a value does not fit its column"), FIX)
NULL = (marked("a column that must not be null would be"), FIX)
NO_PARENT = (marked("a row would refer to one that is not there"), FIX)
REFERRED = (marked("other rows refer to a row that would go"), FIX)
NOT_UNIQUE = (marked("two rows would have the same value where it has to be unique"), FIX)
CHECK = (marked("a CHECK constraint does not allow a row"), FIX)
CONSTRAINT = (marked("a constraint does not allow a row"), FIX)
TRIGGER = (marked("a trigger or function of the database does not allow it"), FIX)
NOT_TEXT = (marked("a text in the database is not UTF-8"), FIX)
NOT_DONE = (marked("SQLAlchemy could not do it"), FIX)
NO_VALUE_OF_TYPE = (marked("a value does not fit its column's type"), FIX)

# About a statement.
NO_COLUMN = (marked("a column is not there"), FIX)
NO_TABLE = (marked("a table is not there"), FIX)
NO_RIGHT = (marked("the role lacks a right"), marked("Grant it and start again."))

# About the server, or the file.
LOST = (marked("the connection to the database was lost"), marked("Start again when it is back."))
NO_CONNECTION = (
    marked("no connection could be made"),
    marked("See that the server runs and lets this user in, and start again."),
)
SHUT_OUT = (marked("the server does not let this user in"), FIX)
NO_DATABASE = (marked("there is no database of this name"), FIX)
CROWDED = (
    marked("the server takes no more connections"),
    marked("Start again when some have ended."),
)
READ_ONLY = (marked("the database can only be read, as a standby can"), FIX)
FULL = (marked("the disk of the database is full"), _ROOM)
NO_ROOM = (marked("the server has run out of memory or room"), FIX)
DEADLOCK = (marked("it and something else waited for each other"), _AGAIN)
CHANGED = (marked("something else changed the same rows meanwhile"), _AGAIN)
CANCELLED = (marked("somebody cancelled the statement in the database"), _AGAIN)
FAILED = (marked("the server failed"), _LOG)
NO_WRITING = (marked("the database file can not be written"), FIX)
DISK_FAILED = (marked("the disk of the database failed"), FIX)
DAMAGED = (marked("the database file is damaged"), FIX)
NO_FILE = (marked("the database file can not be opened"), FIX)
