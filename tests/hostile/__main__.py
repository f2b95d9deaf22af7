"""`python -m tests.hostile`: every hostile variant through a real restore, and what came of it."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.hostile.arena import Arena
from tests.hostile.variants import Variant, variants


@dataclass
class Report:
    """What became of the variants, family by family."""

    results: Counter[tuple[str, str]] = field(default_factory=Counter)
    codes: dict[str, Counter[str]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0
    slowest: tuple[float, str] = (0.0, "")

    def __str__(self) -> str:
        lines = [
            f"{'family':<24} {'variants':>8} {'refused':>8} {'restored':>8} {'failed':>6}  codes"
        ]
        for name, codes in self.codes.items():
            counts = [self.results[name, result] for result in ("refused", "restored", "failed")]
            told = ", ".join(f"{code} {count}" for code, count in codes.most_common())
            lines.append(
                f"{name:<24} {sum(counts):>8} {counts[0]:>8} {counts[1]:>8} {counts[2]:>6}  {told}"
            )
        total = Counter(result for _, result in self.results.elements())
        lines.append(
            f"{'all':<24} {total.total():>8} {total['refused']:>8} {total['restored']:>8} "
            f"{total['failed']:>6}  {self.seconds:.0f} s"
        )
        return "\n".join(lines)


def run(arena: Arena, chosen: Iterable[Variant]) -> Report:
    """Restore each, and gather what came of it."""
    report = Report()
    started = time.monotonic()
    with arena.entered():
        for variant in chosen:
            began = time.monotonic()
            outcome = arena.run(variant)
            report.slowest = max(report.slowest, (time.monotonic() - began, variant.name))
            report.results[variant.family, outcome.result] += 1
            report.codes.setdefault(variant.family, Counter()).update(outcome.codes)
            if outcome.result == "failed":
                report.failures.append(f"{variant.family}, {variant.name}: {outcome.why}")
    report.seconds = time.monotonic() - started
    return report


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("--family", help="only families whose name has this in it")
    arguments = parser.parse_args()
    chosen = (each for each in variants() if (arguments.family or "") in each.family)
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
        arena = Arena(Path(folder))
        report = run(arena, chosen)
        arena.close()
    print(report)
    for failure in report.failures:
        print(failure)
    sys.exit(bool(report.failures))


if __name__ == "__main__":
    main()
