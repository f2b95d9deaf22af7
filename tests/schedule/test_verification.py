"""Each backup is read again by the clock: when it is due, oldest first, in nobody's way."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

from examples.host_app.seed import ADMIN
from hexhub_backup import verbs
from hexhub_backup.history.models import Operation
from tests.support.directory import depot_of
from tests.support.hosts import ADA
from tests.support.people import sign_in
from tests.support.serving import PREFIX
from tests.support.ticking import Ticking, dropped_from_the_cache

pytestmark = pytest.mark.usefixtures("host")


@pytest.fixture
def made(ticking: Ticking) -> list[str]:
    """Three backups: verified nine days ago, never, and eight days ago; and one of today."""
    app, backups = ticking.app, ticking.backups
    made = [backups.orders.run(app, verbs.create.order(ADA)).operation for _ in range(4)]
    for name, days in zip(made, (9, None, 8, 0), strict=True):
        at = None if days is None else ticking.clock.now - timedelta(days=days)
        backups.catalog.update_backup(name, verified_at=at, intact=None if at is None else True)
    # That the registry itself is checked by the clock is another file's.
    backups.orders.run(app, verbs.doctor.order(ADA))
    ticking.until("verification")
    return made


def checked(ticking: Ticking) -> list[str]:
    order = ticking.ordered[-1]
    outcome = ticking.backups.catalog.operation(order.id).outcome
    assert outcome is not None
    return [each["backup"] for each in outcome["checked"]]


def test_what_is_due_is_verified_the_longest_ago_first(ticking: Ticking, made: list[str]) -> None:
    ticking()
    assert ticking.verbs() == ["verify_all"]
    assert checked(ticking) == [made[1], made[0], made[2]]
    assert all(each.intact for each in ticking.backups.history.backups())
    ticking.until("verification")
    ticking()
    assert ticking.verbs() == ["verify_all"]
    operations = ticking.backups.history.operations()
    assert [each.verb for each in operations].count("verify_all") == 1


def test_damage_is_found_and_is_news(ticking: Ticking, made: list[str]) -> None:
    client = ticking.app.test_client()
    sign_in(client, ADMIN)
    label = "Verification of all backups"
    ticking()
    assert label not in client.get(f"{PREFIX}/").text
    archive = depot_of(ticking.backups).archive(made[0])
    content = bytearray(archive.read_bytes())
    content[content.index(b"contents.tar.gz")] ^= 1
    archive.write_bytes(content)
    ticking.backups.catalog.update_backup(made[0], verified_at=None)
    ticking.until("verification")
    ticking()
    assert checked(ticking) == [made[0]]
    assert ticking.backups.history.backup(made[0]).intact is False
    assert label in client.get(f"{PREFIX}/").text


def test_one_runs_at_a_time(ticking: Ticking, made: list[str]) -> None:
    ticking.backups.catalog.add_operation(
        Operation(
            id="another",
            verb="verify_all",
            state="running",
            actor="schedule",
            options={},
            queued_at=ticking.clock.now,
        )
    )
    ticking()
    assert ticking.verbs() == []
    ticking.backups.catalog.finish_operation("another", state="completed")
    ticking.until("verification")
    ticking()
    assert ticking.verbs() == ["verify_all"]


def test_it_can_be_turned_off(ticking: Ticking, made: list[str]) -> None:
    ticking.set(verify_days=0)
    ticking()
    assert "verification" not in ticking.runs.all()
    assert ticking.verbs() == []


def test_it_keeps_to_its_rate_and_leaves_nothing_in_the_cache(
    ticking: Ticking, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = dropped_from_the_cache(monkeypatch)
    archives = [depot_of(ticking.backups).archive(name) for name in made]
    size = sum(each.stat().st_size for each in archives[:3])
    ticking.set(verify_rate=size)
    began = time.monotonic()
    ticking()
    # A second for all: they take a fraction of it.
    assert time.monotonic() - began > 0.99
    assert told == {each.stat().st_ino for each in archives[:3]}
    # Who asks for it himself waits for nothing, and may want it again.
    told.clear()
    ticking.backups.orders.run(ticking.app, verbs.verify_all.order(ADA))
    assert not told
