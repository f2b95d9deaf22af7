"""A copy of 2 GB to a bucket beside what boto3 alone takes for the same file, plain and encrypted.

Both talk to the same server, which keeps what it gets on the same disk, in turns.
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.measuring import backups, measured, seed
from tests.benchmarks.operations import MEMORY_LIMIT, RELEASES, Say
from tests.benchmarks.results import Result
from tests.support import s3
from tests.support.age import age_key
from tests.support.instance import Instance

COLUMN, PACKAGES, SIZE = "2 GB", 200, 2_000_000
#: At least half as fast as boto3 in a single stream.
LIMIT = 2.0
# Prints the seconds of the upload alone, as an operation tells its own.
_PEER = """
import sys, time, boto3
from boto3.s3.transfer import TransferConfig
endpoint, bucket, path = sys.argv[1:]
client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
with open(path, "rb") as file:
    began = time.perf_counter()
    client.upload_fileobj(file, bucket, "peer.tar", Config=TransferConfig(use_threads=False))
    print(time.perf_counter() - began)
client.delete_object(Bucket=bucket, Key="peer.tar")
"""


def run(rounds: int, folder: Path, say: Say) -> Iterator[Result]:
    instance = Instance(folder / "host")
    say(f"{COLUMN}: seeding")
    seed(instance, packages=PACKAGES, releases=RELEASES, size=SIZE)
    recipient = age_key(folder / "key.txt").recipient
    with s3.localbucket(folder / "server") as server:
        for name, recipients in (("plain", ""), ("encrypted", recipient)):
            settings = {
                "HOST_APP_BUCKET": server.bucket(),
                "HOST_APP_BUCKET_ENDPOINT": server.endpoint,
                "HOST_APP_AGE_RECIPIENTS": recipients,
                "AWS_ACCESS_KEY_ID": s3.KEYS["access_key"],
                "AWS_SECRET_ACCESS_KEY": s3.KEYS["secret_key"],
            }
            pairs, memory = [], list[float]()
            for number in range(rounds + 1):
                say(f"{name}: {f'round {number} of {rounds}' if number else 'warm-up'}")
                ours, peer, above = _pair(instance, settings)
                if number:
                    pairs.append((ours, peer))
                memory.append(above)
            ratio = statistics.median(ours / peer for ours, peer in pairs)
            ours, peer = (statistics.median(times) for times in zip(*pairs, strict=True))
            what = f"{name} copy / boto3's upload_fileobj in one stream"
            yield Result(what, COLUMN, ratio, "x", LIMIT, {"copy": ours, "boto3": peer})
            what = f"memory above the idle host, {name} copy"
            yield Result(what, COLUMN, max(memory), "MiB", MEMORY_LIMIT)


def _pair(instance: Instance, settings: dict[str, str]) -> tuple[float, float, float]:
    """The seconds of a copy and of the peer, and the MiB of the copy above idle."""
    _, created = backups(instance, "create")
    idle, _ = backups(instance, "list", settings=settings)
    copied, _ = backups(instance, "copy", created["id"], settings=settings)
    done = next(each for each in backups(instance, "operations")[1] if each["verb"] == "copy")
    archive = instance.depot / f"hexhub-backup-{created['id']}.tar"
    place = (settings["HOST_APP_BUCKET_ENDPOINT"], settings["HOST_APP_BUCKET"])
    program = [sys.executable, "-c", _PEER, *place, str(archive)]
    _, printed = measured(program, environment={**os.environ, **settings})
    backups(instance, "delete", created["id"], "--everywhere", "--yes", settings=settings)
    return done["duration_seconds"], float(printed), copied.memory - idle.memory
