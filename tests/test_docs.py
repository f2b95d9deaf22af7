"""README, CONTRIBUTING and the page of the architecture name what is there, and nothing else."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from types import ModuleType

import pytest

from hexhub_backup.testing import destinations, registries, storages
from tests.support.manual import DOCS, PAGES, README, ROOT, blocks, functions_of

pytestmark = pytest.mark.sample

CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
ARCHITECTURE = (DOCS / "architecture.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
PACKAGE = ROOT / "hexhub_backup"
#: The pages that are read where the repository is, by name.
TEXTS = {path.name: path.read_text() for path in ROOT.glob("*.md")}


def targets() -> list[str]:
    found = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert found is not None
    return found[1].split()


@pytest.mark.parametrize("target", targets())
def test_every_make_target_is_told_and_does_something(target: str) -> None:
    assert f"| `make {target}` |" in CONTRIBUTING
    assert re.search(rf"^{target}:.*\n\t", MAKEFILE, re.MULTILINE)


def test_no_make_target_is_told_that_is_not_there() -> None:
    text = "\n".join((CONTRIBUTING, *PAGES.values()))
    assert set(re.findall(r"(?:`|\$ )make ([a-z][a-z-]+)\b", text)) <= {*targets()}


@pytest.mark.parametrize("text", [README, CONTRIBUTING], ids=["README", "CONTRIBUTING"])
def test_every_file_that_is_told_of_is_there(text: str) -> None:
    for name in re.findall(
        r"`((?:tests|tools|docs|examples|\.ci)/[\w/.-]+|[A-Z]+\.md|[a-z]+\.cfg)`", text
    ):
        assert (ROOT / name).exists(), name


def anchors(text: str) -> set[str]:
    """The anchors that code hosts give the headings of a page."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize(
    ("page", "link"),
    [
        (page, link)
        for page, text in TEXTS.items()
        for link in re.findall(r"\]\((?!https?:)([^)]+)\)", text)
    ],
)
def test_every_link_leads_somewhere(page: str, link: str) -> None:
    name, _, anchor = link.partition("#")
    target = ROOT / (name or page)
    assert target.exists()
    assert not anchor or anchor in anchors(target.read_text())


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
        for node in ast.walk(ast.parse(Path(str(module.__file__)).read_text()))
        if isinstance(node, ast.FunctionDef)
        and any(ast.unparse(line) == "raise NotImplementedError" for line in node.body)
    }


def test_the_manual_shows_how_parts_of_ones_own_are_held() -> None:
    (example,) = blocks((DOCS / "own-parts.md").read_text(), "python")
    assert functions_of(example) == {
        "StorageConformance": asked_of_a_host(storages.host),
        "RegistryConformance": asked_of_a_host(registries.host),
        "DestinationConformance": asked_of_a_host(destinations.host),
    }
