"""A kind of records is described once: a fifth one is written, read, chosen and counted as itself.

It is added to a copy of the package, in a process of its own.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import hexhub_backup
from hexhub_backup.archive.records import KINDS

ORGANISATIONS = """
ORGANISATIONS = Kind(
    "organisations",
    "organisation",
    "organisations.json",
    ("name",),
    {"name": "text", "inserted_at": "time"},
)
KINDS = (*KINDS, ORGANISATIONS)
"""
SCRIPT = """
import json, sys
from contextlib import closing
from pathlib import Path
from hexhub_backup.archive.batch import Batch
from hexhub_backup.archive.reading.reader import ArchiveReader
from hexhub_backup.archive.source import FileSource
from hexhub_backup.archive.records import KINDS, ORGANISATIONS
from hexhub_backup.archive.writing.recheck import recheck
from hexhub_backup.archive.writing.writer import ArchiveWriter
from hexhub_backup.operations import create, restore
from hexhub_backup.operations.contents import Contents
from hexhub_backup.operations.listing import ContentsWriter
from hexhub_backup.operations.changed import ChangedNames
from hexhub_backup.operations.choice import Choice
from hexhub_backup.operations.outcome import outcome_of_restore, outcome_of_undo
from hexhub_backup.operations.plan import Plan, PlanWriter
from hexhub_backup.operations.planned import PlannedRecord
from hexhub_backup.operations.undo_set import UndoSet
from hexhub_backup.registry.base import Comparison

place = Path(sys.argv[1])
record = {"name": "acme", "inserted_at": "2026-01-31T10:30:00.000000Z"}
archive = place / "archive.tar"
with archive.open("w+b") as file, (place / "sums").open("w+b") as sums:
    writer = ArchiveWriter(file, sums)
    for kind in KINDS:
        columns = {name: [value] for name, value in sorted(record.items())}
        writer.write_records(kind, [Batch(columns)] if kind is ORGANISATIONS else [])
    manifest = writer.finish(hex_hub_version="1", generator="test", created_by="ada")
    with FileSource(archive) as written:
        recheck(written, sums, manifest, lambda _: None)
with ArchiveReader(FileSource(archive), place / "index") as reader:
    reader.read_members(lambda _: None)
    counts = reader.check_manifest().contents
    reader.check_files(lambda _: None)
    records = list(reader.records(ORGANISATIONS))

fields = {kind: sorted(kind.fields) for kind in KINDS}
with closing(ContentsWriter(place / "contents", fields)) as listing:
    listing.add(ORGANISATIONS, Batch({name: [value] for name, value in sorted(record.items())}))
    listing.complete({}, {})
with closing(Contents(place / "contents")) as contents:
    (listed,) = contents.search(ORGANISATIONS, "ACME", offset=0, limit=9)
    listed = [contents.count(ORGANISATIONS), *listed.key, *listed.fields]

planned = PlannedRecord("create", Comparison(n=1, key=("acme",), state="create"), "create")
with closing(PlanWriter(place / "plan")) as plan:
    plan.add(ORGANISATIONS, planned)
    totals = {kind.name: 0 for kind in KINDS} | {"organisations": 1}
    plan.complete(digest="", choice=Choice(), totals=totals)
with closing(Plan(place / "plan")) as plan, closing(ChangedNames(place / "restored")) as names:
    restored = outcome_of_restore(plan, names)
with closing(UndoSet(place / "undo", make=True)) as undo:
    undo.add_left(ORGANISATIONS, [(1, "create", json.dumps(record))])
    undo.list_placed({})
with closing(UndoSet(place / "undo")) as undo, closing(ChangedNames(place / "undone")) as names:
    undone = outcome_of_undo(undo, names)

def chosen(**choice):
    return Choice(**choice).takes(ORGANISATIONS, ("acme",))

print(json.dumps({
    "counts": counts,
    "records": records == [(1, record)],
    "restored": {name: each["names"] for name, each in restored["changed"].items()},
    "created": restored["records"]["organisations"]["created"],
    "undone": {name: each["names"] for name, each in undone["changed"].items()},
    "removed": undone["records"]["organisations"]["removed"],
    "listed": listed,
    "chosen": [chosen(), chosen(users=False), chosen(packages=("acme",))],
    "steps": [*create.STEPS, *restore.STEPS],
}))
"""


def test_a_fifth_kind_is_never_counted_as_a_package(tmp_path: Path) -> None:
    shutil.copytree(Path(hexhub_backup.__file__).parent, tmp_path / "hexhub_backup")
    records = tmp_path / "hexhub_backup" / "archive" / "records.py"
    text = records.read_text()
    listed = next(line for line in text.splitlines() if line.startswith("KINDS = "))
    records.write_text(text.replace(listed, listed + ORGANISATIONS))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["records"]
    assert (found["counts"]["organisations"], found["counts"]["packages"]) == (1, 0)
    names = {"organisations": ["acme"], "packages": [], "users": [], "credentials": []}
    assert found["restored"] == found["undone"] == names
    assert (found["created"], found["removed"]) == (1, 1)
    assert found["listed"] == [1, "acme", "inserted_at", "name"]
    # With everything, or with all packages; not with a package that happens to have its name.
    assert found["chosen"] == [True, True, False]
    assert {"export_organisations", "restore_organisations"} <= {*found["steps"]}


def test_a_record_belongs_to_a_user_or_to_a_package() -> None:
    assert {kind.name: kind.root.name for kind in KINDS} == {
        "users": "users",
        "packages": "packages",
        "releases": "packages",
        "owners": "packages",
    }
