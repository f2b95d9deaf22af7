"""The state of an instance, for the checks: `python -m tests.torture.state DIR` prints its hash,
and with `--one-of HASH …` it fails where the state is none of them or something is left over."""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

from tests.instance import Instance


def fingerprint(instance: Instance) -> str:
    return hashlib.sha256(repr(instance.registry()).encode()).hexdigest()


def unfinished(instance: Instance) -> list[str]:
    with instance.database() as connection:
        return [
            found
            for (found,) in connection.exec_driver_sql(
                "SELECT verb || ' ' || id FROM hexhub_backup_operations WHERE state = 'running' "
                "UNION ALL SELECT 'journal of ' || operation_id FROM hexhub_backup_journal"
            )
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--database", help="its URI, where it is not SQLite in DIR")
    parser.add_argument("--one-of", nargs="*")
    arguments = parser.parse_args()
    instance = Instance(arguments.path, arguments.database)
    found = fingerprint(instance)
    if arguments.one_of is None:
        print(found)
        return
    problems = [*instance.leftovers(), *unfinished(instance)]
    if found not in arguments.one_of:
        problems.append("the registry is neither as before nor as after")
    sys.exit("\n".join(problems) or 0)


if __name__ == "__main__":
    main()
