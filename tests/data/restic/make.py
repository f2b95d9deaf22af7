"""Asks restic what it keeps: run once, by hand, where Debian's restic is installed.

    python -m tests.data.restic.make

It makes 30 random histories in one repository, one for each host, and writes `answers.json`, which
`tests/test_retention.py` holds ours against.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

HERE = Path(__file__).parent
HISTORIES = 30
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe")
RULES = ("last", "daily", "weekly", "monthly", "yearly")


def restic(folder: Path, zone: str, *words: str) -> Any:
    done = subprocess.run(
        ["restic", "--repo", folder / "repository", "--cache-dir", folder / "cache", *words],
        env={**os.environ, "RESTIC_PASSWORD": "no secret", "TZ": zone},
        check=True,
        stdout=subprocess.PIPE,
    )
    return json.loads(done.stdout) if "--json" in words else done.stdout.decode().strip()


def moments(chance: random.Random) -> list[datetime]:
    """When the backups of a history were made, as a clock on the wall says it: often in the nights
    of the changes of daylight saving and around the turn of a year, several on some days, none
    for weeks."""
    around = datetime.fromisoformat(
        chance.choice(["2024-12-31", "2025-03-30", "2025-10-26", "2021-01-02"])
    )
    span = chance.choice([3, 40, 400, 1100])
    found = set[datetime]()
    while len(found) < chance.randint(8, 34):
        at = around + timedelta(days=chance.uniform(-span, span / 4))
        if chance.random() < 0.3:
            at = at.replace(hour=chance.choice([0, 1, 2, 3, 23]), minute=chance.choice([0, 30, 59]))
        found.add(at.replace(microsecond=0))
    return sorted(found)


def rules(chance: random.Random) -> dict[str, int]:
    chosen = chance.sample(RULES, chance.randint(1, len(RULES)))
    return {name: chance.randint(1, 12) for name in RULES if name in chosen}


def answer(folder: Path, number: int) -> dict[str, Any]:
    """One history: its time zone, its backups in UTC, and for some rules what restic keeps of
    them, and why."""
    chance = random.Random(number)
    zone, host = ZONES[number % len(ZONES)], f"history-{number}"
    for at in moments(chance):
        restic(
            folder, zone, "backup", "--quiet", "--force", "--host", host, "--time", str(at),
            str(folder / "file"),
        )  # fmt: skip
    snapshots = restic(folder, zone, "snapshots", "--json", "--host", host)
    times = [utc(each["time"]) for each in snapshots]
    assert len({*times}) == len(times)
    asked = []
    for each in (rules(chance) for _ in range(3)):
        options = [word for name, n in each.items() for word in (f"--keep-{name}", str(n))]
        (group,) = restic(
            folder, zone, "forget", "--dry-run", "--json", "--group-by", "host", "--host", host,
            *options,
        )  # fmt: skip
        keeps = {
            utc(reason["snapshot"]["time"]): [
                match.removesuffix(" snapshot") for match in reason["matches"]
            ]
            for reason in group["reasons"]
        }
        assert keeps.keys() == {utc(each["time"]) for each in group["keep"] or ()}
        asked.append({"rules": each, "keeps": keeps})
    return {"zone": zone, "made": sorted(times), "asked": asked}


def utc(text: str) -> str:
    return (
        datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(ZoneInfo("UTC")).isoformat()
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "file").write_text("one file")
        restic(folder, "UTC", "init")
        answers = {
            "made_by": restic(folder, "UTC", "version"),
            "histories": [answer(folder, number) for number in range(HISTORIES)],
        }
    (HERE / "answers.json").write_text(json.dumps(answers, indent=1) + "\n")


if __name__ == "__main__":
    main()
