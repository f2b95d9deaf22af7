"""Builds with one deliberate mistake each, to see that what should catch it does."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.instance import ROOT
from tests.torture.harness import Victims, torture, undisturbed, victims
from tests.torture.order import create_problems, restore_problems
from tests.torture.points import KILL, points_of
from tests.torture.scenarios import Bench, Prepared, prepare

pytestmark = pytest.mark.matrix


@dataclass(frozen=True)
class Mistake:
    """In a file of the package, some words instead of others."""

    name: str
    file: str
    right: str
    wrong: str

    def __str__(self) -> str:
        return self.name


@contextmanager
def built(mistake: Mistake, folder: Path, count: int | None = None) -> Iterator[Victims]:
    """Victims of a package with a mistake: `count`, or one for each core."""
    package = folder / "hexhub_backup"
    shutil.copytree(
        ROOT / "hexhub_backup", package, ignore=shutil.ignore_patterns("__pycache__", "src")
    )
    for name in ("tests", "examples"):
        (folder / name).symlink_to(ROOT / name)
    path = package / mistake.file
    text = path.read_text()
    assert text.count(mistake.right) == 1, f"{mistake} does not fit any more"
    path.write_text(text.replace(mistake.right, mistake.wrong))
    with victims(folder, count) as hands:
        yield hands


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="module")
def scenarios(bench: Bench) -> dict[str, Prepared]:
    return {name: prepare(name, bench) for name in ("create", "restore overwrite", "undo")}


#: What orders the disk keeps, by scenario.
ORDERS: dict[str, Callable[[str], list[str]]] = {
    "create": create_problems,
    "restore overwrite": restore_problems,
    "undo": restore_problems,
}


@pytest.fixture(scope="module")
def hands() -> Iterator[Victims]:
    with victims(count=1) as found:
        yield found


@pytest.mark.parametrize("scenario", ORDERS)
def test_each_thing_is_on_the_disk_before_the_next_hangs_on_it(
    scenario: str, scenarios: dict[str, Prepared], hands: Victims
) -> None:
    assert ORDERS[scenario](undisturbed(scenarios[scenario], hands)) == []


RESTORE, COMMIT = "operations/restore.py", "operations/commit_protocol.py"
UNSYNCED = [
    (
        "restore overwrite",
        "the name of a new file",
        Mistake(
            "new names are not flushed before the decision",
            RESTORE,
            "self._content)\n            self.storage.flush()\n",
            "self._content)\n",
        ),
    ),
    (
        "restore overwrite",
        "a staged file",
        Mistake(
            "what was staged is not flushed before it is placed",
            RESTORE,
            "file_type, undo)\n        self.storage.flush()\n",
            "file_type, undo)\n",
        ),
    ),
    (
        "restore overwrite",
        "what is placed",
        Mistake(
            "the undo set is not flushed before files are placed",
            "operations/undo_set.py",
            "        sync_file(self._path)\n        sync_directory",
            "        sync_directory",
        ),
    ),
    (
        "restore overwrite",
        "the undo set",
        Mistake(
            "the undo set is not flushed before the decision",
            "operations/undo_set.py",
            "synchronous=EXTRA",
            "synchronous=OFF",
        ),
    ),
    (
        "restore overwrite",
        "its name",
        Mistake(
            "the name of the undo set is not flushed",
            "operations/undo_set.py",
            "        sync_directory(self._path.parent)\n",
            "",
        ),
    ),
    (
        "restore overwrite",
        "the decision",
        Mistake(
            "the decision is not flushed",
            "databases/sqlite.py",
            "max(before, 2)",
            "0",
        ),
    ),
    (
        "restore overwrite",
        "a replaced file",
        Mistake(
            "replaced files are not flushed before the journal goes",
            COMMIT,
            "    storage.flush()\n    decisions.close_journal",
            "    decisions.close_journal",
        ),
    ),
    (
        "undo",
        "a replaced file",
        Mistake(
            "what an undo brings back is not flushed before the journal goes",
            COMMIT,
            "    storage.flush()\n    decisions.close_journal",
            "    decisions.close_journal",
        ),
    ),
    (
        "create",
        "the archive",
        Mistake(
            "an archive is not flushed before it is named",
            "depot/new_file.py",
            "start(beside, os.fsync, self.file.fileno())",
            "start(beside, int, self.file.fileno())",
        ),
    ),
    (
        "create",
        "its name",
        Mistake(
            "the name of an archive is not flushed",
            "depot/new_file.py",
            "        sync_directory(self._archive.parent)\n",
            "",
        ),
    ),
]


@pytest.mark.parametrize(("scenario", "caught", "mistake"), UNSYNCED, ids=str)
def test_a_missing_sync_is_caught(
    scenario: str,
    caught: str,
    mistake: Mistake,
    scenarios: dict[str, Prepared],
    tmp_path: Path,
) -> None:
    with built(mistake, tmp_path, count=1) as hands:
        found = ORDERS[scenario](undisturbed(scenarios[scenario], hands))
    assert [problem for problem in found if problem.startswith(caught)], found


HALF = [
    Mistake(
        "files are replaced before the decision",
        RESTORE,
        "            self._check_placed(undo)\n",
        "            self._check_placed(undo)\n"
        "            for _, entry in self._replacements(undo):\n"
        "                self.storage.replace(self.commit.operation, entry.file, entry.tag)\n",
    ),
    Mistake(
        "what was linked without a decision stays",
        COMMIT,
        "    storage.take_back("
        "operation_id, () if undo_set is None else placed_by(undo_set.here()))\n",
        "",
    ),
    Mistake(
        "a file is written over instead of replaced",
        "storage/local.py",
        "            staged.replace(self._path(file))\n",
        "            Path(self._path(file)).write_bytes(staged.read_bytes())\n",
    ),
]


@pytest.mark.parametrize("mistake", HALF, ids=str)
def test_what_happens_by_halves_is_caught(
    mistake: Mistake, scenarios: dict[str, Prepared], tmp_path: Path
) -> None:
    prepared = scenarios["restore overwrite"]
    with built(mistake, tmp_path) as hands:
        trace = undisturbed(prepared, hands)
        near = set(points_of(trace, on="/storage/hosted/"))
        # Each call that has to do with stored files, and the one after it.
        found = points_of(trace)
        wanted = [point for before, point in pairwise(found) if near & {before, point}]
        failures: list[str] = []
        # Until it is caught, and no longer.
        while wanted and not any("neither as before nor as after" in each for each in failures):
            some, wanted = wanted[: hands.count], wanted[hands.count :]
            failures += torture(prepared, some, KILL, len(found), hands).failures
    assert any("neither as before nor as after" in each for each in failures), failures
