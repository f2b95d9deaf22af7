"""The README names everything that there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from hexhub_backup import errors
from hexhub_backup.cli import backups_cli
from hexhub_backup.settings import PREFIX, Settings
from hexhub_backup.signals import SIGNALS

README = (Path(__file__).parent.parent / "README.md").read_text()


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
