"""A create and a restore of files in a bucket, beside a loop of boto3 that asks the same server for
the same at the same concurrency, in turns. The server has a latency of 10 ms.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.benchmarks.measuring import Measured, backups, measured, seed
from tests.benchmarks.operations import MEMORY_LIMIT, RELEASES, Say
from tests.benchmarks.results import Result
from tests.support import s3
from tests.support.instance import Instance
from tests.support.s3 import KEYS, S3Server
from tests.support.slow_moto import ASKED
from tests.support.stored import HostBucket

COLUMN, PACKAGES, SIZE = "10,000 x 10 KB", 2_000, 10_000
LIMIT = 1.3
#: What an S3Storage has where nothing is said.
CONNECTIONS = 16
# Prints the seconds of the requests alone, as an operation tells its own.
_PEER = """
import json, sys, time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs
import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

endpoint, path, connections = sys.argv[1:]
with open(path) as file:
    asked = json.load(file)
config = Config(
    max_pool_connections=int(connections),
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
)
client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", config=config)
content = b"x" * max(int(each["size"]) for each in asked)


def ask(each):
    _, bucket, key = (*each["path"].split("/", 2), "")[:3]
    place = {"Bucket": bucket, "Key": key}
    try:
        if not key:
            query = parse_qs(each["query"])
            names = {"Prefix": "prefix", "StartAfter": "start-after", "Delimiter": "delimiter"}
            options = {name: query[part][0] for name, part in names.items() if part in query}
            client.list_objects_v2(Bucket=bucket, **options)
        elif each["method"] == "GET":
            client.get_object(**place, Range=each["range"])["Body"].read()
        elif each["method"] == "HEAD":
            client.head_object(**place)
        elif each["method"] == "DELETE":
            client.delete_object(**place)
        else:
            body = content[: int(each["size"])]
            client.put_object(**place, Body=body, IfNoneMatch="*", Metadata={"tag": "x" * 32})
    except ClientError:
        pass


began = time.perf_counter()
with ThreadPoolExecutor(int(connections)) as pool:
    for _ in pool.map(ask, asked):
        pass
print(time.perf_counter() - began)
"""


def run(rounds: int, folder: Path, say: Say) -> Iterator[Result]:
    source = Instance(folder / "host")
    say(f"{COLUMN}: seeding")
    seed(source, packages=PACKAGES, releases=RELEASES, size=SIZE)
    with s3.slow_moto() as server:
        bench = _Bench(folder, server)
        bench.fill(source)
        ratios: dict[str, list[float]] = {"create": [], "restore": []}
        seconds: dict[str, list[tuple[float, float]]] = {"create": [], "restore": []}
        memory = [0.0]
        for number in range(rounds + 1):
            say(f"{COLUMN}: {f'round {number} of {rounds}' if number else 'warm-up'}")
            idle = bench.idle()
            for what, do in (("create", bench.create), ("restore", bench.restore)):
                ours, asked = do()
                peer = bench.peer(asked)
                if number:
                    ratios[what].append(ours.operation / peer)
                    seconds[what].append((ours.operation, peer))
                    memory.append(ours.memory - idle)
        for what, found in ratios.items():
            ours_, peer_ = (statistics.median(each) for each in zip(*seconds[what], strict=True))
            details = {what: ours_, "boto3": peer_, "requests": float(bench.requests[what])}
            words = f"{what} of a bucket / boto3's requests alone"
            yield Result(words, COLUMN, statistics.median(found), "x", LIMIT, details)
        what = "memory above the idle host, create and restore of a bucket"
        yield Result(what, COLUMN, max(memory), "MiB", MEMORY_LIMIT)


class _Bench:
    """The registry whose files are in a bucket, and the rounds over it."""

    def __init__(self, folder: Path, server: S3Server) -> None:
        self._folder, self._server = folder, server
        self._bucket = HostBucket(server.bucket(), server.endpoint)
        self._source = Instance(folder / "host", None, self._bucket)
        self._keys = {
            "AWS_ACCESS_KEY_ID": KEYS["access_key"],
            "AWS_SECRET_ACCESS_KEY": KEYS["secret_key"],
        }
        self.requests: dict[str, int] = {}

    def fill(self, local: Instance) -> None:
        """Bring the files of an instance into the bucket."""
        client, root = self._server.client(), local.storage

        def put(path: Path) -> None:
            key = f"files/{path.relative_to(root)}"
            client.put_object(Bucket=self._bucket.bucket, Key=key, Body=path.read_bytes())

        with ThreadPoolExecutor(10) as pool:
            for _ in pool.map(put, root.rglob("*.tar.gz")):
                pass
        self._asked()

    def _asked(self) -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"{self._server.endpoint}{ASKED}") as answer:
            found: list[dict[str, Any]] = json.load(answer)
        return found

    def idle(self) -> float:
        """The memory of the host that does nothing."""
        return backups(self._source, "list", settings=self._keys)[0].memory

    def create(self) -> tuple[Measured, list[dict[str, Any]]]:
        """What it took, and what it asked for."""
        for old in self._source.depot.glob("*.tar"):
            old.unlink()
        self._asked()
        found, _ = backups(self._source, "create", settings=self._keys)
        asked = self._asked()
        self.requests["create"] = len(asked)
        return found, asked

    def restore(self) -> tuple[Measured, list[dict[str, Any]]]:
        """The same of a restore into an empty registry and an empty bucket, without the inspection
        before it."""
        bucket = HostBucket(self._server.bucket(), self._server.endpoint)
        target = Instance(self._folder / bucket.bucket, None, bucket)
        backups(target, "list", settings=self._keys)
        (archive,) = self._source.depot.glob("*.tar")
        self._asked()
        options = (str(archive), "--yes", "--strategy", "overwrite")
        found, _ = backups(target, "restore", *options, settings=self._keys)
        asked = self._asked()
        # It begins with trying the server.
        first = next(n for n, each in enumerate(asked) if each["method"] == "PUT")
        self.requests["restore"] = len(asked) - first
        # The peer has an empty bucket of its own.
        text = json.dumps(asked[first:]).replace(bucket.bucket, self._server.bucket())
        return found, json.loads(text)

    def peer(self, asked: list[dict[str, Any]]) -> float:
        """The seconds of the same requests in a loop."""
        path = self._folder / "asked.json"
        path.write_text(json.dumps(asked))
        program = [sys.executable, "-c", _PEER, self._server.endpoint, str(path), str(CONNECTIONS)]
        _, printed = measured(program, environment={**os.environ, **self._keys})
        return float(printed)
