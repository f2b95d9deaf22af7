"""What may happen in a database, and what to do then: the same words for each of them."""

from __future__ import annotations

_AGAIN = "Start again."
FIX = "Fix that and start again."
_ROOM = "Make room there and start again."
_LOG = "See its log."

REFUSED = ("the database refused it", FIX)

# About a record.
TOO_LONG = ("a value is too long for its column", FIX)
OUT_OF_RANGE = ("a number is outside the range of its column", FIX)
NO_VALUE = ("a value does not fit its column", FIX)
NULL = ("a column that must not be null would be", FIX)
NO_PARENT = ("a row would refer to one that is not there", FIX)
REFERRED = ("other rows refer to a row that would go", FIX)
NOT_UNIQUE = ("two rows would have the same value where it has to be unique", FIX)
CHECK = ("a CHECK constraint does not allow a row", FIX)
CONSTRAINT = ("a constraint does not allow a row", FIX)
TRIGGER = ("a trigger or function of the database does not allow it", FIX)
NOT_TEXT = ("a text in the database is not UTF-8", FIX)

# About a statement.
NO_COLUMN = ("a column is not there", FIX)
NO_TABLE = ("a table is not there", FIX)
NO_RIGHT = ("the role lacks a right", "Grant it and start again.")

# About the server, or the file.
LOST = ("the connection to the database was lost", "Start again when it is back.")
NO_CONNECTION = (
    "no connection could be made",
    "See that the server runs and lets this user in, and start again.",
)
SHUT_OUT = ("the server does not let this user in", FIX)
NO_DATABASE = ("there is no database of this name", FIX)
CROWDED = ("the server takes no more connections", "Start again when some have ended.")
READ_ONLY = ("the database can only be read, as a standby can", FIX)
FULL = ("the disk of the database is full", _ROOM)
NO_ROOM = ("the server has run out of memory or room", FIX)
DEADLOCK = ("it and something else waited for each other", _AGAIN)
CHANGED = ("something else changed the same rows meanwhile", _AGAIN)
CANCELLED = ("somebody cancelled the statement in the database", _AGAIN)
FAILED = ("the server failed", _LOG)
NO_WRITING = ("the database file can not be written", FIX)
DISK_FAILED = ("the disk of the database failed", FIX)
DAMAGED = ("the database file is damaged", FIX)
NO_FILE = ("the database file can not be opened", FIX)
