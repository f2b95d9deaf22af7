"""A sample of what `make torture` does in full: every scenario, over folders and over buckets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import stored
from tests.support.postgres import Server
from tests.torture.harness import Victims, points, torture, victims
from tests.torture.points import CUT, KILL, Point, every, makes_sense
from tests.torture.scenarios import SCENARIOS, Bench, Prepared, prepare
from tests.torture.served import Served

#: Of each scenario.
SAMPLE = {KILL: 3, "ENOSPC": 1, "EIO": 1}
#: What `make test` tries; each is tried once, there or in the rest of the matrix.
BY_MAKE_TEST = {"create", "restore overwrite", "undo"}

#: The place of files and backups, and the number of a scenario.
EVERYWHERE = [
    pytest.param(
        place,
        number,
        id=f"{name}, {place}",
        marks=() if place == "folders" and name in BY_MAKE_TEST else pytest.mark.matrix,
    )
    for place in ("folders", "buckets")
    for number, name in enumerate(SCENARIOS)
]


@pytest.fixture(scope="module")
def bench(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("bench")
    if request.param == "folders":
        yield Bench(folder)
    else:
        server: Server = request.getfixturevalue("postgresql")
        with stored.buckets(tmp_path_factory.mktemp("buckets")) as buckets:
            yield Bench(folder, server, buckets)


@pytest.fixture(scope="module")
def hands(bench: Bench) -> Iterator[Victims]:
    """They have the keys of the buckets, if there are some."""
    with victims() as found:
        yield found


@pytest.fixture(scope="module")
def talking(
    tmp_path_factory: pytest.TempPathFactory, postgresql: Server
) -> Iterator[tuple[Prepared, list[Point], Victims]]:
    """A restore of a registry in PostgreSQL, what can befall it, and whom it befalls."""
    bench = Bench(tmp_path_factory.mktemp("talking"), postgresql)
    prepared = prepare("restore overwrite", bench)
    with victims() as hands:
        yield prepared, points(prepared, hands), hands


@pytest.mark.parametrize(("bench", "number"), EVERYWHERE, indirect=["bench"])
def test_what_is_killed_or_fails_anywhere_has_happened_or_not(
    number: int, hands: Victims, bench: Bench
) -> None:
    prepared = prepare(list(SCENARIOS)[number], bench)
    found = points(prepared, hands)
    for mode, count in SAMPLE.items():
        wanted = [point for point in found if makes_sense(point, mode)]
        # Not the same share of the way in each scenario.
        sample = list(every(wanted, count, shift=(number + 0.5) / len(SCENARIOS)))
        assert len(sample) == count
        assert torture(prepared, sample, mode, len(wanted), hands).failures == []


@pytest.mark.parametrize(("mode", "call"), [(KILL, "sendto"), (CUT, "recvfrom")])
def test_a_restore_that_is_killed_or_cut_off_while_it_talks_to_its_database(
    mode: str, call: str, talking: tuple[Prepared, list[Point], Victims]
) -> None:
    prepared, all_of_it, hands = talking
    found = [point for point in all_of_it if point.call == call]
    sample = every(found, 4, shift=0.9)
    assert torture(prepared, sample, mode, len(found), hands).failures == []


def test_a_worker_that_is_killed_while_it_restores(tmp_path: Path, postgresql: Server) -> None:
    served = Served(tmp_path, postgresql)
    for share in (0.3, 0.8):
        assert served.attempt(f"kill-{share}", share)[1] == []
