"""A sample of the hostile variants; `python -m tests.hostile` does all of them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from hexhub_backup.archive.rules import tar
from tests.hostile import oracle
from tests.hostile.__main__ import run
from tests.hostile.archives import BASES, HEXHUB, OURS
from tests.hostile.arena import Arena
from tests.hostile.variants import FILE, Variant, header_of, put, variants
from tests.support import extent

#: Every so manieth of them is in the sample.
_STEP = 41


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    made = Arena(tmp_path_factory.mktemp("arena"))
    yield made
    made.close()


def test_there_are_thousands_and_they_are_the_same_each_time() -> None:
    """So that a failure can be met again."""
    names = []
    for one, again in zip(variants(), variants(), strict=True):
        assert one == again
        names.append((one.family, one.name))
    assert len(set(names)) == len(names) > 5000


def test_every_prefix_of_a_valid_archive_is_among_them() -> None:
    data = {variant.data for variant in variants() if variant.family == "prefix"}
    for base in BASES.values():
        assert {base.tar[:size] for size in range(0, len(base.tar), tar.BLOCK)} <= data


def test_the_archives_they_are_made_of_are_valid(arena: Arena) -> None:
    """Both restore, and to the same registry: but for the second row of a release."""
    chosen = [Variant("valid", base.name, base.tar, "any", base.tar) for base in BASES.values()]
    report = run(arena, chosen)
    assert report.failures == []
    assert report.results["valid", "restored"] == 2
    ours, theirs = oracle.read(OURS.tar), oracle.read(HEXHUB.tar)
    assert ours[1] == theirs[1]
    assert ours[0]["users"] == theirs[0]["users"]


def test_a_sample_is_refused_or_restored_exactly(arena: Arena) -> None:
    report = run(arena, extent.some(islice(variants(), 0, None, _STEP)))
    assert report.failures == []
    families, variants_ = (25, 100) if extent.step() == 1 else (20, 33)
    assert len(report.codes) > families
    assert sum(report.results.values()) > variants_


# -- what the variants would find ----------------------------------------------------------------


def _signed(field: bytes, _name: str) -> int:
    """A size, read as Python's tarfile does: negative where base-256 says so."""
    if field[0] in (0x80, 0xFF):
        return int.from_bytes(field[1:], "big", signed=True)
    return int(field.strip(b"\0 ") or b"0", 8)


def _by_pax(records: dict[bytes, bytes], _name: str) -> int | None:
    size = records.get(b"size")
    return None if size is None else int(size)


def _sizes(base_name: str) -> list[Variant]:
    families = ("header: numbers", "header: base-256", "pax", "header: sizes")
    return [
        variant
        for variant in variants()
        if variant.family in families
        and variant.expect == "refused"
        and variant.name.startswith(base_name)
        and ("size" in variant.name or variant.family != "header: numbers")
    ]


@pytest.mark.matrix
# The alarm that ends what takes too long may hit where a file was opened and is not held yet.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("broken", "by"),
    # The last takes the size of pax for true where the header's own says 0.
    [("parse_number", _signed), ("_pax_size", _by_pax), ("MAX_USTAR_SIZE", -1)],
)
def test_a_reader_that_trusts_a_size_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str, by: object
) -> None:
    """Each is a reader with one check of a size left out, as others were found to have."""
    arena = Arena(tmp_path / "arena", seconds=2)
    chosen = _sizes("hexhub")
    monkeypatch.setattr(tar, broken, by)
    found: list[str] = []
    try:
        for variant in chosen:
            found = run(arena, [variant]).failures
            if found:
                break
    finally:
        arena.close()
    assert found, f"{len(chosen)} variants, and none notices it"


def test_what_the_broken_readers_do_not_see(arena: Arena) -> None:
    """The other way round: the reader as it is refuses what they would take."""
    before, header, after = header_of(HEXHUB, FILE)
    negative = before + put(header, 124, (-512).to_bytes(12, "big", signed=True)) + after
    report = run(arena, [Variant("sizes", "negative", negative, "refused", HEXHUB.tar)])
    assert report.failures == []
