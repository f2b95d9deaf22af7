"""A run of the torture that was stopped goes on behind the rows that are there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.torture.__main__ import parse, run
from tests.torture.points import KILL
from tests.torture.table import Row, Table, commit

COMMIT = "0123456789ab"


@pytest.mark.matrix
def test_what_is_in_the_table_is_not_done_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "evidence" / "torture.md"
    asked = ["--scenarios", "prune", "--most", "1", "--into", str(path), "--modes", KILL]
    assert run(parse(asked), COMMIT) == 0
    first = path.read_text()
    assert first.count(f"| {COMMIT} | sqlite | prune | kill | 1 |") == 1
    assert capsys.readouterr().out.startswith("prune ")
    assert run(parse(asked), COMMIT) == 0
    assert path.read_text() == first
    assert capsys.readouterr().out.startswith("0 points, 0 failures")
    assert run(parse([*asked, "ENOSPC"]), COMMIT) == 0
    added = path.read_text().removeprefix(first)
    assert added.count("\n") == 1
    assert f"| {COMMIT} | sqlite | prune | ENOSPC | 1 |" in added
    assert run(parse([*asked, "--without-talk"]), COMMIT) == 0
    assert f"| {COMMIT} | sqlite, without talk | prune | kill | 1 |" in path.read_text()


def test_only_a_whole_row_of_the_same_commit_and_database_counts(tmp_path: Path) -> None:
    path = tmp_path / "torture.md"
    table = Table(path, COMMIT, "sqlite")
    assert not table.has("undo", KILL, 1)
    table.add(Row("undo", KILL, of=50, points=40))
    assert table.has("undo", KILL, 40)
    assert not table.has("undo", KILL, 41)
    assert not table.has("undo", "EIO", 1)
    assert not table.has("create", KILL, 1)
    assert not Table(path, COMMIT, "postgresql").has("undo", KILL, 1)
    assert not Table(path, "ba9876543210", "sqlite").has("undo", KILL, 1)
    table.add(Row("undo", KILL, of=50, points=50))
    assert table.has("undo", KILL, 100_000)
    text = path.read_text()
    path.write_text(text + text.splitlines()[-1].replace("undo", "prune")[:-9])
    assert not table.has("prune", KILL, 1)
    table.add(Row("create", KILL, of=1, points=1))
    assert "prune" not in path.read_text()
    assert table.has("undo", KILL, 50)
    assert table.has("create", KILL, 1)
    table.add(Row("prune", KILL, of=1, points=1, failures=["write no. 1: gone"]))
    assert not table.has("prune", KILL, 1)
    changed = Table(path, f"{COMMIT}+", "sqlite")
    changed.add(Row("create", KILL, of=1, points=1))
    assert not changed.has("create", KILL, 1)


def test_a_commit_is_that_of_what_is_tortured(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        who = ["-c", "user.name=ada", "-c", "user.email=ada@example.org"]
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    for name in ("hexhub_backup", "examples", "tests", "docs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("1")
    git("add", ".")
    git("commit", "-m", "one")
    first = commit(tmp_path)
    assert len(first) == 12
    (tmp_path / "docs" / "file").write_text("2")
    assert commit(tmp_path) == first
    git("commit", "-am", "evidence")
    assert commit(tmp_path) == first
    (tmp_path / "tests" / "file").write_text("2")
    assert commit(tmp_path) == f"{first}+"
    git("commit", "-am", "two")
    assert commit(tmp_path) not in (first, f"{first}+")
