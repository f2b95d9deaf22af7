"""Runs some test files of every part with another Python, or with the lowest versions allowed.

`sample.py --lowest` takes the lowest version of each package that setup.cfg allows, and
`sample.py PYTHON` another interpreter. Each has a venv of its own beside `.venv`.
"""

from __future__ import annotations

import argparse
import configparser
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
#: Something of every part, on SQLite and, what is marked `sample`, on each other database.
FILES = [
    "tests/archive/test_writer.py",
    "tests/copies/test_copy.py",
    "tests/destinations/test_s3.py",
    "tests/example/test_accounts.py",
    "tests/history/test_history.py",
    "tests/jobs/test_events.py",
    "tests/jobs/test_lock.py",
    "tests/operations/test_many_names.py",
    "tests/registry/test_mapping.py",
    "tests/registry/test_values.py",
    "tests/test_docs.py",
    "tests/test_manual.py",
    "tests/test_rooms.py",
    "tests/web/test_access.py",
    "tests/web/test_live.py",
    "tests/web/test_pages.py",
    "tests/web/test_tus.py",
]
_LOWEST = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?\s*>=\s*([0-9.]+)")


def lowest() -> Iterator[str]:
    """`name==version` of each requirement in setup.cfg that has a lower bound."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    extras = config["options.extras_require"]
    texts = [config["options"]["install_requires"], *(extras[name] for name in extras)]
    for line in "\n".join(texts).split("\n"):
        if found := _LOWEST.match(line.strip()):
            yield f"{found[1]}=={found[2]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("python", nargs="?", default=sys.executable)
    parser.add_argument("--lowest", action="store_true")
    given = parser.parse_args()
    asked = [given.python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    version = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    folder = ROOT / (".venv-lowest" if given.lowest else f".venv-{version}")
    python = folder / "bin" / "python"
    options: list[str] = []
    if given.lowest:
        constraints = folder.with_suffix(".txt")
        constraints.write_text("".join(f"{line}\n" for line in lowest()))
        options = ["--constraint", str(constraints)]
    subprocess.run([given.python, "-m", "venv", folder], check=True)
    install = [python, "-m", "pip", "install", "-qq", *options, "--editable", f"{ROOT}[dev]"]
    subprocess.run(install, check=True)
    about = "the lowest versions" if given.lowest else "the latest versions"
    print(f"Some tests of every part, with Python {version} and {about}", flush=True)
    tests = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--numprocesses", "auto"]
    sys.exit(subprocess.run([*tests, *FILES], cwd=ROOT, check=False).returncode)


if __name__ == "__main__":
    main()
