"""An undo set whose process dies while it is written to."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from hexhub_backup.archive.records import RELEASES, ReleaseFile
from hexhub_backup.depot.local_kept import LocalKept
from hexhub_backup.errors import BackupError
from hexhub_backup.operations.commit_protocol import give_up
from hexhub_backup.operations.planned import PlannedFile
from hexhub_backup.operations.undo_set import Look, UndoSet, placed_by, remove
from hexhub_backup.storage.base import sealed
from hexhub_backup.storage.local import LocalStorage

FILE = ReleaseFile("package", "jason", "1.0.0")
#: More rows than SQLite keeps in memory until the commit.
COUNT = 2_000


def filled(path: Path) -> None:
    """A process that lists what it places, and dies while it adds what it overwrites."""
    undo = UndoSet(path, make=True)
    undo.add_left(RELEASES, [(n, "overwrite", "{}") for n in range(1, COUNT + 1)])
    undo.add_files([(PlannedFile(FILE, 1, "place", None, 3, None, differs=True), "tag", None)])
    undo.list_placed({})
    undo.add_before(RELEASES, ((n, {"meta": "x" * 4_000}) for n in range(1, COUNT + 1)))
    os._exit(7)


def test_what_is_placed_is_known_whenever_the_process_dies(tmp_path: Path) -> None:
    path = tmp_path / "set.sqlite"
    child = os.fork()
    if child == 0:
        try:
            filled(path)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert list(placed_by(path)) == [(FILE, "tag")]
    assert list(tmp_path.iterdir()) == [path]
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute("SELECT count(*), count(before) FROM records").fetchone()
        assert rows == (COUNT, 0)
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_set_that_can_not_be_read_just_now_is_none_that_lists_nothing(tmp_path: Path) -> None:
    """What was placed would stay for ever."""
    storage = LocalStorage(tmp_path / "storage")
    path = tmp_path / "set.sqlite"
    kept, changed = LocalKept(path, remove), LocalKept(tmp_path / "changed")
    tag = sealed(storage.stage("one", FILE, [b"new"], purpose="place"), "0" * 64)
    with closing(UndoSet(path, make=True)) as undo:
        undo.add_files([(PlannedFile(FILE, 1, "place", None, 3, None, differs=True), tag, None)])
        undo.list_placed({})
    storage.place("one", [(FILE, tag)], lambda _: ())
    journal = tmp_path / "set.sqlite-journal"
    # SQLite has to know what is in there first.
    journal.mkdir()
    with pytest.raises(BackupError, match="can not be used"):
        give_up("one", storage, kept, changed)
    assert storage.path(FILE).exists()
    assert list(storage.staged()) == ["one"]
    journal.rmdir()
    # Of a process that died before it had written to it.
    journal.touch()
    give_up("one", storage, kept, changed)
    assert not storage.path(FILE).exists()
    assert list(storage.staged()) == []
    assert [each.name for each in tmp_path.iterdir()] == ["storage"]


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\0", b"\0" * 8_192, None])
def test_a_set_that_was_not_written_to_its_end_lists_nothing(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "set.sqlite"
    if content is not None:
        path.write_bytes(content)
    assert list(placed_by(path)) == []


def test_a_set_of_which_a_part_was_never_written_lists_nothing(tmp_path: Path) -> None:
    path = tmp_path / "set.sqlite"
    with closing(UndoSet(path, make=True)) as undo:
        undo.add_files([(PlannedFile(FILE, 1, "place", None, 3, None, differs=True), "tag", None)])
        undo.list_placed({})
    data = path.read_bytes()
    # The first page holds the schema.
    path.write_bytes(data[:4096].ljust(len(data), b"\0"))
    assert list(placed_by(path)) == []


def test_what_is_overwritten_is_there_once_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "set.sqlite"
    with closing(UndoSet(path, make=True)) as undo:
        undo.add_left(RELEASES, [(1, "overwrite", "{}")])
        undo.list_placed({"actor": "ada"})
        undo.add_before(RELEASES, [(1, {"meta": "old"})])
        undo.complete()
    assert list(tmp_path.iterdir()) == [path]
    with closing(UndoSet(path)) as undo:
        assert undo.about == {"actor": "ada"}
        assert list(undo.before(RELEASES)) == [(1, {"meta": "old"})]


def test_what_is_spared_for_two_reasons_keeps_its_files(tmp_path: Path) -> None:
    """A row that is gone, whose file somebody has put there anew."""
    path, other = tmp_path / "set.sqlite", ReleaseFile("package", "plug", "1.0.0")
    with closing(UndoSet(path, make=True)) as undo:
        undo.add_left(RELEASES, [(1, "create", "{}"), (2, "create", "{}")])
        undo.add_files(
            (PlannedFile(file, n, "place", None, 3, None, differs=True), "tag", None)
            for n, file in ((1, FILE), (2, other))
        )
        undo.list_placed({})
        undo.complete()
    with closing(UndoSet(path)) as undo:
        undo.add_looks([(left, Look(tag="tag")) for left in undo.files()])
        undo.spare(RELEASES, [1, 2], gone=True)
        undo.spare(RELEASES, [1])
        stay = {*undo.spared_releases()}
        assert [entry.file for n, entry in undo.journal() if n not in stay] == [other]
