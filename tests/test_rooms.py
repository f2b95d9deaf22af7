"""Who may know whom: the imports of the package, read from its source."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import hexhub_backup

pytestmark = pytest.mark.sample

ROOT = Path(hexhub_backup.__file__).parent
HERE = "hexhub_backup."

#: Room to what it may import: rooms of ours, and other people's packages.
RULES: dict[str, set[str]] = {
    "errors": {"marking"},
    "beside": set(),
    "due": set(),
    "durable": set(),
    "formatting": {"marking"},
    "marking": set(),
    "notice_code": {"formatting"},
    "notices": {"notice_code", "serious_notices"},
    "serious_notices": {"notice_code"},
    "extras": {"errors"},
    "retention": {"errors", "marking"},
    "settings": {"extras", "errors", "retention"},
    "signals": {"blinker", "errors"},
    "databases": {"errors", "sqlalchemy", "marking"},
    "archive": {"notices", "errors", "marking"},
    "archive.rules": {
        "archive.records",
        "archive.faults",
        "archive.source",
        "archive.times",
        "errors",
        "marking",
    },
    "archive.writing": {
        "beside",
        "archive.rules",
        "archive.records",
        "archive.batch",
        "archive.faults",
        "archive.source",
        "archive.times",
        "errors",
        "marking",
    },
    "archive.reading": {
        "archive.rules",
        "archive.records",
        "archive.private",
        "archive.faults",
        "archive.source",
        "archive.times",
        "errors",
        "notices",
        "marking",
    },
    "registry.base": {"archive", "sqlalchemy"},
    "registry.mapping": {"archive", "errors", "sqlalchemy"},
    "registry.queries": {"registry.mapping", "sqlalchemy"},
    "registry.reading": {
        "registry.mapping",
        "registry.queries",
        "archive",
        "databases",
        "errors",
        "sqlalchemy",
        "marking",
    },
    "registry.comparing": {
        "registry.base",
        "registry.mapping",
        "registry.queries",
        "archive",
        "databases",
        "sqlalchemy",
        "marking",
    },
    "registry.deciding": {
        "registry.mapping",
        "registry.queries",
        "registry.comparing",
        "archive",
        "databases",
        "formatting",
        "errors",
        "sqlalchemy",
        "marking",
    },
    "registry.undoing": {
        "registry.mapping",
        "registry.queries",
        "registry.comparing",
        "registry.restoration",
        "archive",
        "databases",
        "errors",
        "sqlalchemy",
    },
    "registry": {
        "registry",
        "archive",
        "databases",
        "errors",
        "sqlalchemy",
        "marking",
    },
    "storage": {"archive", "beside", "s3", "errors", "durable", "marking"},
    "destinations": {"s3", "errors", "durable", "marking"},
    "destinations.encryption": {"destinations.base", "errors", "extras", "pyrage"},
    "s3": {"errors", "marking"},
    "s3.server": {"errors", "extras", "boto3", "botocore", "urllib3", "marking"},
    "hex": {
        "archive.faults",
        "archive.rules.tar",
        "archive.source",
        "operations.release_check",
        "errors",
        "marking",
    },
    "operations": {
        "archive",
        "destinations.base",
        "registry.base",
        "storage.base",
        "storage.many",
        "notice_code",
        "notices",
        "formatting",
        "errors",
        "durable",
        "retention",
        "marking",
    },
    "coordination": {"operations.progress", "errors", "marking"},
    "coordination.postgresql": {
        "coordination.base",
        "coordination.lock",
        "databases",
        "operations.progress",
        "formatting",
        "errors",
        "sqlalchemy",
    },
    "depot": {
        "archive.source",
        "archive.writing.new_archive",
        "beside",
        "coordination",
        "operations",
        "s3",
        "durable",
        "errors",
        "marking",
    },
    "history": {
        "coordination.lock",
        "depot",
        "due",
        "archive",
        "destinations.base",
        "operations",
        "databases",
        "signals",
        "formatting",
        "errors",
        "sqlalchemy",
        "retention",
        "marking",
    },
    "verbs": {
        "coordination",
        "depot",
        "due",
        "operations",
        "destinations.base",
        "destinations.encryption",
        "history",
        "archive.source",
        "archive.times",
        "durable",
        "formatting",
        "notices",
        "registry.base",
        "storage.base",
        "signals",
        "settings",
        "errors",
        "marking",
    },
    "verbs.rehearse": {
        "verbs",
        "depot",
        "operations",
        "history",
        "registry.base",
        "storage.layout",
        "storage.local",
        "signals",
        "errors",
    },
    "jobs": {
        "coordination",
        "depot",
        "due",
        "watching",
        "verbs",
        "destinations.base",
        "destinations.encryption",
        "operations",
        "history",
        "archive",
        "registry.base",
        "storage.base",
        "signals",
        "settings",
        "durable",
        "formatting",
        "notices",
        "errors",
    },
    "jobs.celery": {"jobs", "extras", "errors", "celery", "flask"},
    "schedule": {"depot", "jobs", "verbs", "history", "settings", "extras", "due", "errors"},
    "schedule.times": {"cronsim", "settings", "due", "errors"},
    "testing": {
        "archive",
        "registry.base",
        "storage.base",
        "destinations.base",
        "errors",
        "pytest",
        "sqlalchemy",
    },
    "watching": {
        "depot.base",
        "destinations.base",
        "destinations.encryption",
        "due",
        "schedule.times",
        "history",
        "settings",
        "extras",
        "signals",
        "formatting",
        "errors",
        "apprise",
        "prometheus_client",
        "marking",
    },
    "terminal": {
        "copy_text",
        "jobs",
        "history",
        "signals",
        "formatting",
        "errors",
        "click",
        "retention",
    },
    "plan_text": {"jobs", "archive", "operations", "notices", "formatting", "terminal"},
    "web": {
        "coordination",
        "archive.records",
        "archive.source",
        "depot",
        "watching",
        "schedule.times",
        "destinations.base",
        "destinations.encryption",
        "notices",
        "formatting",
        "marking",
        "jobs",
        "verbs",
        "history",
        "operations",
        "signals",
        "settings",
        "extras",
        "errors",
        "flask",
        "babel",
        "flask_babel",
        "flask_login",
        "flask_wtf",
        "jinja2",
        "markupsafe",
        "flask_sock",
        "simple_websocket",
        "werkzeug",
        "wsproto",
        "wtforms",
        "retention",
    },
    "cli_choice": {"operations", "click"},
    "cli_identity": {
        "cli_base",
        "verbs",
        "history",
        "destinations.encryption",
        "terminal",
        "click",
    },
    "cli_keys": {
        "cli_base",
        "cli_identity",
        "watching",
        "history",
        "terminal",
        "click",
        "flask",
    },
    "cli_base": {"jobs", "verbs", "history", "terminal", "errors", "click", "flask"},
    "cli_alerts": {"cli_base", "history", "terminal", "click", "flask"},
    "copy_text": {"history", "operations", "formatting", "retention"},
    "cli_contents": {"cli_base", "verbs", "history", "operations", "terminal", "click"},
    "cli_rehearse": {"cli_base", "cli_identity", "verbs", "terminal", "formatting", "click"},
    "cli_doctor": {
        "cli_base",
        "cli_choice",
        "verbs",
        "history",
        "operations",
        "terminal",
        "formatting",
        "click",
    },
    "cli_prune": {
        "cli_base",
        "verbs",
        "history",
        "destinations.base",
        "terminal",
        "formatting",
        "errors",
        "click",
    },
    "cli_copies": {
        "cli_base",
        "cli_identity",
        "copy_text",
        "verbs",
        "history",
        "destinations.base",
        "terminal",
        "formatting",
        "errors",
        "click",
        "flask",
    },
    "cli": {
        "cli_base",
        "watching",
        "cli_choice",
        "cli_contents",
        "cli_copies",
        "cli_doctor",
        "cli_identity",
        "cli_keys",
        "cli_prune",
        "cli_rehearse",
        "cli_alerts",
        "schedule",
        "copy_text",
        "jobs",
        "verbs",
        "history",
        "operations",
        "plan_text",
        "terminal",
        "formatting",
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
    # Whoever has words marks them.
    allowed = RULES[room] | {room, "marking"}
    for name in imports_of(path):
        if name in sys.stdlib_module_names:
            continue
        assert set(rooms_of(name)) & allowed, f"{module} must not know {name}"


def test_no_test_imports_a_test() -> None:
    """What two of them use lies in `tests/support`, or in the folder's own helpers."""
    for path in Path(__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                parts = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
                tests = [part for part in parts if part.startswith("test_") or part == "conftest"]
                assert not tests, f"{path}: {tests}"


def test_the_suites_are_known_to_nobody() -> None:
    """They need pytest, which an app does not have."""
    for path in ROOT.rglob("*.py"):
        if "testing" not in path.relative_to(ROOT).parts:
            assert not any("testing" in rooms_of(name) for name in imports_of(path)), path


def test_every_file_is_short_enough_to_be_read_at_once() -> None:
    too_long = {
        str(path.relative_to(ROOT)): count
        for path in ROOT.rglob("*.py")
        if (count := len(path.read_text().splitlines())) > 400
    }
    assert not too_long


#: What SQLAlchemy calls the databases.
DIALECTS = {"sqlite", "postgresql", "mysql", "mariadb"}


@pytest.mark.parametrize("module", [each for each in MODULES if "databases" not in each])
def test_only_the_files_of_the_databases_know_which_one_it_is(module: str) -> None:
    path = ROOT / Path(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant):
            assert node.value not in DIALECTS, f"{module}:{node.lineno}"
        if isinstance(node, ast.Attribute) and node.attr == "name":
            of = node.value.attr if isinstance(node.value, ast.Attribute) else node.value
            is_dialect = "dialect" in (of if isinstance(of, str) else getattr(of, "id", ""))
            assert not is_dialect, f"{module}:{node.lineno}"
