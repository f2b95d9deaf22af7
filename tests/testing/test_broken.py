"""The suites find faults: each broken storage, registry or destination fails the test that is
named for it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.testing.broken_destinations import BROKEN as DESTINATIONS
from tests.testing.broken_registries import BROKEN as REGISTRIES
from tests.testing.broken_storages import BROKEN as STORAGES

FOLDER = Path(__file__).parent
pytestmark = pytest.mark.matrix


def failures(module: str) -> set[tuple[str, str]]:
    """The names of the tests that fail, each with that of what it was given."""
    arguments = ["-q", "-rf", "-o", "python_classes=Faults", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments, FOLDER / module],
        cwd=FOLDER.parent.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    lines = re.findall(r"^FAILED \S+::(test_\w+)\[(.+?)\]", done.stdout, re.MULTILINE)
    return {(test, given) for test, all_given in lines for given in all_given.split("-")}


@pytest.fixture(scope="module")
def storages() -> set[tuple[str, str]]:
    return failures("broken_storages.py")


@pytest.mark.parametrize("name", STORAGES)
def test_a_broken_storage_is_found(storages: set[tuple[str, str]], name: str) -> None:
    assert (STORAGES[name].found_by, name) in storages


@pytest.fixture(scope="module")
def registries() -> set[tuple[str, str]]:
    return failures("broken_registries.py")


@pytest.mark.parametrize("name", REGISTRIES)
def test_a_broken_registry_is_found(registries: set[tuple[str, str]], name: str) -> None:
    assert (REGISTRIES[name].found_by, name) in registries


@pytest.fixture(scope="module")
def destinations() -> set[tuple[str, str]]:
    return failures("broken_destinations.py")


@pytest.mark.parametrize("name", DESTINATIONS)
def test_a_broken_destination_is_found(destinations: set[tuple[str, str]], name: str) -> None:
    assert (DESTINATIONS[name].found_by, name) in destinations
