"""An archive in a bucket takes no memory that grows with it, to write it and to read it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.s3 import S3Server

MIB = 1024 * 1024
#: The process alone: what it has by then, and what it takes at most after that.
SCRIPT = """
import os, sys
from pathlib import Path
from hexhub_backup.archive.source import Reading
from tests.support.depots import bucket_depot
from tests.support.s3 import S3Server

MIB = 1024 * 1024
endpoint, bucket, folder, size = sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024

depot = bucket_depot(S3Server(endpoint), bucket, folder / "one", folder / "shared")
with depot.new_upload("first") as upload:
    upload.write(b"all that a first request loads")
    upload.complete()
base, block = peak(), os.urandom(MIB)
with depot.work() as work:
    archive = depot.new_archive("20260131-103000-9f3ac1", size * MIB, Path(work))
    for at in range(size):
        archive.mark(at * MIB)
        archive.file.write(block)
    with archive.complete() as source:
        reading, length = Reading(source), 0
        while part := reading.read(MIB):
            length += len(part)
    archive.close()
assert length == size * MIB
print(peak() - base)
"""


@pytest.mark.matrix
def test_it_is_flat(localbucket: S3Server, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, localbucket.endpoint, localbucket.bucket(), tmp_path, "300"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) <= 64
