"""The README names everything that there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hexhub_backup import errors
from hexhub_backup.cli import backups_cli
from hexhub_backup.settings import PREFIX, Settings
from hexhub_backup.signals import SIGNALS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()


def codes() -> set[str]:
    classes = [errors.BackupError]
    for found in classes:
        classes += found.__subclasses__()
    return {found.code for found in classes} | {
        *errors.FAULT_CODES,
        *errors.WARNING_CODES,
        *errors.NOTE_CODES,
    }


@pytest.mark.parametrize("code", sorted(codes()))
def test_every_code_of_an_error_a_fault_and_a_warning_is_in_the_readme(code: str) -> None:
    assert f"| `{code}` |" in README


@pytest.mark.parametrize("setting", sorted(Settings.__dataclass_fields__))
def test_every_setting_is_in_the_readme(setting: str) -> None:
    assert f"| `{PREFIX}{setting.upper()}` |" in README


@pytest.mark.parametrize("signal", sorted(SIGNALS))
def test_every_signal_is_in_the_readme(signal: str) -> None:
    assert f"| `{signal}` |" in README


@pytest.mark.parametrize("command", sorted(backups_cli.commands))
def test_every_command_is_in_the_readme(command: str) -> None:
    assert f"| `{command}" in README


def targets() -> list[str]:
    found = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert found is not None
    return found[1].split()


@pytest.mark.parametrize("target", targets())
def test_every_make_target_is_told_and_does_something(target: str) -> None:
    assert f"$ make {target} " in README
    assert f"| `make {target}` |" in CONTRIBUTING
    assert re.search(rf"^{target}:.*\n\t", MAKEFILE, re.MULTILINE)


@pytest.mark.parametrize("text", [README, CONTRIBUTING], ids=["README", "CONTRIBUTING"])
def test_no_make_target_is_told_that_is_not_there(text: str) -> None:
    assert set(re.findall(r"(?:`|\$ )make ([a-z][a-z-]+)\b", text)) <= {*targets()}


@pytest.mark.parametrize("text", [README, CONTRIBUTING], ids=["README", "CONTRIBUTING"])
def test_every_file_that_is_told_of_is_there(text: str) -> None:
    for name in re.findall(
        r"`((?:tests|tools|docs|examples|\.ci)/[\w/.-]+|[A-Z]+\.md|[a-z]+\.cfg)`", text
    ):
        assert (ROOT / name).exists(), name
