"""Who may know whom: the imports of the package, read from its source."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import hexhub_backup

ROOT = Path(hexhub_backup.__file__).parent
HERE = "hexhub_backup."

#: Room to what it may import: rooms of ours, and other people's packages.
RULES: dict[str, set[str]] = {
    "errors": set(),
    "durable": set(),
    "settings": {"errors"},
    "signals": {"blinker", "errors"},
    "database_errors": {"errors", "sqlalchemy"},
    "database": {"database_errors", "errors", "sqlalchemy"},
    "archive": {"errors"},
    "registry.base": {"archive"},
    "registry": {
        "registry",
        "archive",
        "database",
        "database_errors",
        "errors",
        "sqlalchemy",
    },
    "storage": {"archive", "errors", "durable"},
    "operations": {"archive", "registry.base", "storage.base", "errors", "durable"},
    "history": {"archive", "operations", "database", "database_errors", "errors", "sqlalchemy"},
    "jobs": {
        "operations",
        "history",
        "archive",
        "registry.base",
        "storage.base",
        "signals",
        "settings",
        "errors",
    },
    "terminal": {"jobs", "history", "signals", "errors", "click"},
    "plan_text": {"jobs", "archive", "operations", "terminal"},
    "web": {
        "jobs",
        "history",
        "operations",
        "signals",
        "settings",
        "errors",
        "flask",
        "flask_login",
        "flask_wtf",
        "jinja2",
        "markupsafe",
        "flask_sock",
        "simple_websocket",
        "werkzeug",
        "wsproto",
        "wtforms",
    },
    "cli_choice": {"operations", "click"},
    "cli": {
        "cli_choice",
        "jobs",
        "history",
        "operations",
        "plan_text",
        "terminal",
        "errors",
        "click",
        "flask",
    },
}
#: Knows everybody, and nobody knows it.
FREE = {"extension", "__init__"}


def rooms_of(module: str) -> list[str]:
    """`registry.base` is a room of its own beside `registry`: the longest name first."""
    parts = module.split(".")
    return [".".join(parts[:count]) for count in range(len(parts), 0, -1)]


def imports_of(path: Path) -> set[str]:
    """What a file imports at run time, of us without our own prefix, of others by package."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            module = node.module or ""
            if module == "hexhub_backup" or module == f"{HERE}operations":
                names = [f"{module}.{alias.name}" for alias in node.names]
            else:
                names = [module]
        else:
            continue
        for name in names:
            ours = name.startswith(HERE)
            found.add(name.removeprefix(HERE) if ours else name.split(".")[0])
    return found


MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in ROOT.rglob("*.py")
)


@pytest.mark.parametrize("module", MODULES)
def test_module_knows_only_the_rooms_it_may(module: str) -> None:
    if module in FREE:
        return
    path = ROOT / Path(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    room = next(name for name in rooms_of(module) if name in RULES)
    allowed = RULES[room] | {room}
    for name in imports_of(path):
        if name in sys.stdlib_module_names:
            continue
        assert set(rooms_of(name)) & allowed, f"{module} must not know {name}"


def test_every_file_is_short_enough_to_be_read_at_once() -> None:
    too_long = {
        str(path.relative_to(ROOT)): count
        for path in ROOT.rglob("*.py")
        if (count := len(path.read_text().splitlines())) > 400
    }
    assert not too_long
