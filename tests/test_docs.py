"""The README names everything that there is."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from types import ModuleType

import click
import pytest

from hexhub_backup import errors
from hexhub_backup.cli import backups_cli
from hexhub_backup.notices import NOTICES
from hexhub_backup.settings import PREFIX, Settings
from hexhub_backup.signals import SIGNALS
from hexhub_backup.testing import destinations, registries, storages

pytestmark = pytest.mark.sample

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
PACKAGE = ROOT / "hexhub_backup"


def meaning(error: type[errors.BackupError]) -> str:
    """The first sentence of an error's docstring, as a table has it."""
    text = " ".join((error.__doc__ or "").split("\n\n")[0].split()).removesuffix(".")
    return f"{text[:1].lower()}{text[1:]}"


def codes() -> set[tuple[str, str]]:
    """Each code of an error, a fault and a notice, and what it means."""
    classes = [errors.BackupError]
    for each in classes:
        classes += each.__subclasses__()
    return {
        *((each.code, meaning(each)) for each in classes),
        *errors.FAULT_CODES.items(),
        *((code.name, code.summary) for code in NOTICES.values()),
    }


@pytest.mark.parametrize(("code", "means"), sorted(codes()))
def test_every_code_is_in_the_readme_with_its_meaning(code: str, means: str) -> None:
    assert f"| `{code}` | {means} |" in README


@pytest.mark.parametrize("setting", sorted(Settings.__dataclass_fields__))
def test_every_setting_is_in_the_readme(setting: str) -> None:
    assert f"| `{PREFIX}{setting.upper()}` |" in README


@pytest.mark.parametrize("signal", sorted(SIGNALS))
def test_every_signal_is_in_the_readme(signal: str) -> None:
    assert f"| `{signal}` |" in README


def commands() -> list[str]:
    """Each command, those of a group with its name."""
    found = []
    for name, command in backups_cli.commands.items():
        inner = command.commands if isinstance(command, click.Group) else {}
        found += [f"{name} {each}" for each in inner] or [name]
    return found


@pytest.mark.parametrize("command", sorted(commands()))
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


def test_the_picture_shows_every_room_and_no_other() -> None:
    """Every folder with modules, and every module beside them, but for `__init__.py`."""
    folders = {path.parent for path in PACKAGE.rglob("*.py")} - {PACKAGE}
    modules = {path for path in PACKAGE.glob("*.py") if path.name != "__init__.py"}
    shown: dict[int, Path] = {}
    rooms = set()
    for line in ARCHITECTURE.split("```")[1].splitlines():
        if found := re.match(r"( +)([\w.]+)/? ", line):
            depth = len(found[1])
            outer = [room for at, room in shown.items() if at < depth]
            shown = {at: room for at, room in shown.items() if at < depth}
            shown[depth] = (outer[-1] if outer else PACKAGE) / found[2]
            rooms.add(shown[depth])
    assert rooms == folders | modules


@pytest.mark.parametrize(
    "name", sorted(set(re.findall(r"`((?:[\w.-]+/)+[\w.-]*|[\w-]+\.py)`", ARCHITECTURE)))
)
def test_every_file_that_the_architecture_names_is_there(name: str) -> None:
    assert (PACKAGE / name).exists() or (ROOT / name).exists()


def asked_of_a_host(module: ModuleType) -> set[str]:
    """The names of the functions that a suite leaves to its subclass."""
    return {
        node.name
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.FunctionDef)
        and any(ast.unparse(line) == "raise NotImplementedError" for line in node.body)
    }


def test_the_readme_shows_how_a_storage_and_a_registry_of_ones_own_are_held() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (example,) = [block for block in blocks if "Conformance" in block]
    shown = {
        ast.unparse(node.bases[0]): {
            line.name for line in node.body if isinstance(line, ast.FunctionDef)
        }
        for node in ast.parse(example).body
        if isinstance(node, ast.ClassDef)
    }
    assert shown == {
        "StorageConformance": asked_of_a_host(storages.host),
        "RegistryConformance": asked_of_a_host(registries.host),
        "DestinationConformance": asked_of_a_host(destinations.host),
    }
