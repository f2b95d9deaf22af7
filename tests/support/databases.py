"""The databases that tests run on."""

from __future__ import annotations

from collections.abc import Callable

#: Beside SQLite. Each is a fixture that gives a database server. `make test` runs a sample of the
#: tests on them, those marked `sample`, and `make test-matrix` all.
SERVERS = ("postgresql", "mariadb")

#: Makes a new, empty database and returns its URI; None is SQLite in a file of the test's own.
NewDatabase = Callable[[], str | None]
