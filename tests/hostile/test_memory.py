"""What the nastiest archives cost: at most 64 MiB above idle, and work that grows with the file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.instance import ROOT

MIB = 1024 * 1024

# In a process of its own: reads each archive that standard input names, and prints what it cost.
# The high-water mark is the kernel's, set back before each; work is counted, not timed.
READ = """
import json, os, sys
from pathlib import Path
from hexhub_backup.archive.reading.reader import ArchiveReader
from hexhub_backup.archive.source import FileSource
from hexhub_backup.errors import ArchiveError

def memory(name):
    status = Path("/proc/self/status").read_text()
    return int(status.split(name + ":")[1].split()[0]) // 1024

read = {"calls": 0, "bytes": 0, "steps": 0}
pread = os.pread

def counted(descriptor, length, at):
    data = pread(descriptor, length, at)
    read["calls"] += 1
    read["bytes"] += len(data)
    return data

os.pread = counted

def step():
    read["steps"] += 1

def check(path):
    index = Path(path + ".index")
    try:
        with ArchiveReader(FileSource(Path(path)), index) as reader:
            # Of SQLite's machine, a hundred at a time.
            reader._index._connection.set_progress_handler(step, 100)
            reader.read_members(lambda _: None)
            reader.check_manifest()
            reader.check_files(lambda _: None)
            for _ in reader.warnings():
                pass
    except ArchiveError as error:
        return sorted({fault.code for fault in error.faults}), len(error.faults)
    finally:
        index.unlink(missing_ok=True)
    return [], 0

first, *others = json.load(sys.stdin)
check(first)
idle = memory("VmRSS")
for path in others:
    Path("/proc/self/clear_refs").write_text("5")
    read.update(calls=0, bytes=0, steps=0)
    codes, faults = check(path)
    cost = {"memory": memory("VmHWM") - idle, "codes": codes, "faults": faults, **read}
    print(json.dumps(cost), flush=True)
"""

# Makes the archives in the folder that it is given, a piece at a time: a reader that is measured
# must not inherit the memory that it took to make them.
MAKE = """
import sys
from itertools import repeat
from pathlib import Path
from hexhub_backup.archive.rules import tar
from tests.support.archives import pack, padded
from tests.hostile.archives import HEXHUB, OURS, SUMS, encoded
from tests.hostile.variants import extended, pax

MIB = 1024 * 1024
folder = Path(sys.argv[1])

def whole(name, pieces):
    with (folder / name).open("wb") as file:
        for piece in pieces:
            file.write(piece)

def rows(name, member, pieces, base=HEXHUB):
    # A JSON member (or SHA256SUMS) of these pieces, and the others of the base.
    pieces = list(pieces)
    size = sum(len(piece) * count for piece, count in pieces)
    def made():
        yield tar.pack(member, size)
        for piece, count in pieces:
            many = max(1, min(count, MIB // len(piece)))
            for _ in range(count // many):
                yield piece * many
            yield piece * (count % many)
        yield bytes(tar.padding(size))
        yield pack({n: d for n, d in base.members.items() if n != member})
    whole(name, made())

(folder / "idle").write_bytes(HEXHUB.tar)
for letter in b"xLg":
    whole(f"1 TiB declared {chr(letter)}", [tar.block(b"x", 2**40, bytes([letter])), HEXHUB.tar])
whole("5,000 chained L", [extended(b"L", b"a\\0") * 5000, HEXHUB.tar])
whole("5,000 chained x", [pax((b"mtime", b"1")) * 5000, HEXHUB.tar])
whole("20,000 global", [extended(b"g", b"12 mtime=12\\n") * 20_000, HEXHUB.tar])
whole("pax of 64 KiB, 100 times", repeat(
    extended(b"g", b"".join(b"9 %05x=\\n" % n for n in range(7000))), 100))
whole("pax before every member", [
    b"".join(pax((b"comment", b"x" * 60_000)) + tar.block(b"a%d" % n, 0) for n in range(200)),
    HEXHUB.tar])
users = "users.json"
rows("digits", users, [(b'[{"username":', 1), (b"9", 100 * MIB), (b"}]", 1)])
rows("digits of a float", users, [(b'[{"username":0.', 1), (b"9", 100 * MIB), (b"}]", 1)])
rows("a million digits, 10 times", users, [(b"[", 1), (b'{"username":' + b"9" * MIB + b"},", 10)])
rows("a text of 100 MB", users, [(b'[{"username":"', 1), (b"x", 100 * MIB), (b'"}]', 1)])
rows("a text in escapes", users, [(b'[{"username":"', 1), (b"\\\\u0041", 10 * MIB), (b'"}]', 1)])
rows("10 million brackets", users, [(b"[", 10 * MIB)])
rows("10 million objects", users, [(b"[", 1), (b'{"a":', 10 * MIB)])
rows("blanks", users, [(b"[", 1), (b" ", 100 * MIB), (b"]", 1)])
rows("nothing but commas", users, [(b"[", 1), (b"1,", MIB // 2), (b"1]", 1)])
rows("130,000 faults", users, [(b"[1", 1), (b",1", MIB // 8), (b"]", 1)])
rows("large rows", users, [
    (b"[", 1),
    *((b'{"username":"u%d","email":"' % n + b"x" * 4_000_000 + b'"},', 1) for n in range(20)),
    (b'{"username":"z"}]', 1)])
rows("rows of many values", users, [
    (b"[", 1),
    *((b'{"username":"u%d","a":[' % n + b"[]," * 200_000 + b"1]},", 1) for n in range(10)),
    (b'{"username":"z"}]', 1)])
rows("long names", "packages/metadata.json", [
    (b"[", 1),
    *((b'{"name":"%d' % n + b"x" * 3_000_000 + b'"},', 1) for n in range(30)),
    (b'{"name":"z"}]', 1)])
for count in (4000, 8000, 16_000):
    row = b'{"username":"a"},'
    rows(f"{count} rows of a key", users, [(b"[", 1), (row, count), (row[:-1] + b"]", 1)])
rows("a manifest of 100 MB", "manifest.json", [(b'{"a":"', 1), (b"x", 100 * MIB), (b'"}', 1)])
rows("a manifest of many values", "manifest.json", [(b'{"a":[', 1), (b"[],", MIB), (b"1]}", 1)])
rows("sums in one line", SUMS, [(b"a", 100 * MIB)], OURS)
rows("sums of long names", SUMS, [
    (b"0" * 64 + b"  %06d" % n + b"x" * 60_000 + b"\\n", 1) for n in range(300)], OURS)
rows("sums without an end", SUMS, [(b"\\n", 50 * MIB)], OURS)
many = b"".join(tar.block(b"docs/%09d.tar.gz" % n, 0) for n in range(2000))
def members(count):
    for at in range(count // 2000):
        yield many.replace(b"docs/0000", b"docs/%04d" % at)
def sealed(blocks):
    for block in blocks:
        out = bytearray(block)
        for at in range(0, len(out), 512):
            head = out[at : at + 512]
            head[148:156] = b" " * 8
            out[at + 148 : at + 156] = b"%06o\\0 " % sum(head)
        yield bytes(out)
for count in (4000, 8000, 16_000):
    whole(f"{count} members", [*sealed(members(count)), HEXHUB.tar])
    whole(f"{count} long names", (
        extended(b"L", b"docs/%d/" % n + b"a" * 200 + b"\\0")
        + tar.block((b"docs/%d/" % n + b"a" * 200)[:100], 0)
        for n in range(count // 4)))
sparse = folder / "1 GiB of holes"
with sparse.open("wb") as file:
    file.write(HEXHUB.tar[:-1024])
    file.write(tar.pack("docs/hole-1.tar.gz", 2**30))
    file.seek(2**30, 1)
    file.write(b"not the end")
tail = folder / "256 MiB of zeros behind"
with tail.open("wb") as file:
    file.write(HEXHUB.tar)
    file.truncate(2**28)
"""


def costs(paths: list[Path]) -> dict[str, dict[str, int]]:
    """What reading each costs, by name."""
    done = subprocess.run(
        [sys.executable, "-c", READ],
        input=json.dumps([str(path) for path in paths]),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {path.name: cost for path, cost in zip(paths[1:], lines, strict=True)}


def no_archive_costs_64_mib(nasty: dict[str, dict[str, int]]) -> None:
    most = {name: cost["memory"] for name, cost in nasty.items()}
    assert len(most) > 30
    assert max(most.values()) < 64, sorted(most.items(), key=lambda item: -item[1])


def no_byte_is_read_more_than_twice(nasty: dict[str, dict[str, int]]) -> None:
    """And none in little pieces: a header, its padding and its content take a call each."""
    for name, cost in nasty.items():
        assert cost["bytes"] <= 2 * cost["size"], name
        assert cost["calls"] <= 3 * cost["size"] / 512 + 100, name


def the_work_grows_with_the_file(nasty: dict[str, dict[str, int]]) -> None:
    for what in ("members", "long names", "rows of a key"):
        for count in (4000, 8000):
            half, whole = nasty[f"{count} {what}"], nasty[f"{2 * count} {what}"]
            for each in ("calls", "bytes", "steps"):
                assert whole[each] <= 2.2 * half[each] + 100, (what, each)


def what_is_declared_and_not_there_is_not_read(nasty: dict[str, dict[str, int]]) -> None:
    for letter in "xLg":
        assert nasty[f"1 TiB declared {letter}"]["bytes"] < 4096
    for name in ("5,000 chained L", "5,000 chained x"):
        assert nasty[name]["bytes"] < 4096


def the_faults_are_bounded(nasty: dict[str, dict[str, int]]) -> None:
    assert nasty["130,000 faults"]["faults"] == 100
    assert all(cost["faults"] <= 100 for cost in nasty.values())


def measured(folder: Path) -> dict[str, dict[str, int]]:
    subprocess.run([sys.executable, "-c", MAKE, folder], cwd=ROOT, check=True)
    paths = sorted(path for path in folder.iterdir() if path.name != "idle")
    found = costs([folder / "idle", *paths])
    for path in paths:
        found[path.name]["size"] = path.stat().st_size
        path.unlink()
    return found


@pytest.mark.matrix
def test_the_nastiest_archives_cost_little(tmp_path: Path) -> None:
    """One test: each process that ran one of several would make and read them again."""
    nasty = measured(tmp_path)
    no_archive_costs_64_mib(nasty)
    no_byte_is_read_more_than_twice(nasty)
    the_work_grows_with_the_file(nasty)
    what_is_declared_and_not_there_is_not_read(nasty)
    the_faults_are_bounded(nasty)


@pytest.mark.matrix
def test_a_text_of_every_length_takes_steps_in_proportion(tmp_path: Path) -> None:
    """Lines that Python runs are counted, and not the time that the machine takes for them."""
    script = """
import sys
from hexhub_backup.archive.rules.json_rows import read_rows
from hexhub_backup.archive.rules.strict_json import StrictJSONError
lines = 0
def count(frame, event, _):
    global lines
    lines += event == "line"
    return count
for shape in ((b"[", b"[", b""), (b'[{"a":"', b"x", b'"}]'), (b"[", b"1,", b"1]"),
              (b"[", b" ", b"]"), (b"[", b'{"a":1},', b"1]"), (b'["', b"\\\\u0041", b'"]'),
              (b"[", b"9", b"]")):
    found = []
    for times in (10_000, 20_000, 40_000):
        lines, data = 0, shape[0] + shape[1] * times + shape[2]
        at = 0
        def read(length):
            global at
            at, before = at + length, at
            return data[before : before + length]
        sys.settrace(count)
        try:
            for _ in read_rows(read): pass
        except StrictJSONError: pass
        finally: sys.settrace(None)
        found.append(lines)
    print(shape[1], *found)
    assert found[2] <= 2.5 * found[1] + 500 and found[1] <= 2.5 * found[0] + 500, (shape, found)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
