"""Everything that there is stands in the manual, and what stands there is so."""

from __future__ import annotations

import ast
import configparser
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from flask_migrate.cli import db as migrations_cli  # type: ignore[import-untyped]

import hexhub_backup
from examples.host_app import commands as host_commands
from examples.host_app import create_app
from hexhub_backup import S3Destination, errors
from hexhub_backup.archive.records import FILE_TYPES, KINDS, ReleaseFile
from hexhub_backup.archive.rules.manifest import MANIFEST, SUMS, Manifest
from hexhub_backup.archive.rules.strict_json import MAX_DEPTH, MAX_DIGITS, MAX_ROW_BYTES, MAX_VALUES
from hexhub_backup.cli import backups_cli
from hexhub_backup.extension import HexHubBackup
from hexhub_backup.notices import NOTICES, WARNINGS
from hexhub_backup.settings import PREFIX, Settings
from hexhub_backup.signals import SIGNALS
from hexhub_backup.storage.layout import hexhub_layout
from tests.support.manual import DOCS, PAGES, ROOT, blocks, coded, named, rows, section

PACKAGE = ROOT / "hexhub_backup"
WHOLE = "\n".join(PAGES.values())


# codes


def meaning(error: type[errors.BackupError]) -> str:
    """The first sentence of an error's docstring."""
    return " ".join((error.__doc__ or "").split("\n\n")[0].split())


def error_classes() -> dict[str, type[errors.BackupError]]:
    """The errors by their codes; of several that have one, that which says what it means."""
    classes = [errors.BackupError]
    for each in classes:
        classes += each.__subclasses__()
    return {each.code: each for each in reversed(classes)}


def test_every_error_has_its_entry_and_no_other() -> None:
    entries = section(PAGES["troubleshooting"], "Errors")
    assert set(re.findall(r"^### `(\w+)`$", entries, re.MULTILINE)) == set(error_classes())


@pytest.mark.parametrize("code", sorted(error_classes()))
def test_the_entry_of_an_error_says_what_it_means_why_and_what_to_do(code: str) -> None:
    entry = section(PAGES["troubleshooting"], f"`{code}`").strip()
    assert entry.startswith(f"{meaning(error_classes()[code])}\n\n**Why:** ")
    assert "\\\n**Do:** " in entry


@pytest.mark.parametrize(
    ("title", "codes"),
    [
        ("Faults of an error", errors.FAULT_CODES),
        ("Warnings and notes", {code.name: code.summary for code in NOTICES.values()}),
    ],
)
def test_every_fault_and_notice_has_its_row_and_no_other(title: str, codes: dict[str, str]) -> None:
    found = [cells for cells in rows(section(PAGES["troubleshooting"], title)) if "`" in cells[0]]
    assert {coded(cells[0])[0]: cells[1] for cells in found} == codes
    assert all(cells[2] for cells in found)


def test_notes_that_only_a_plan_has_stand_apart() -> None:
    text = section(PAGES["troubleshooting"], "Warnings and notes")
    warnings, notes = text.split("Only a plan has these")
    assert set(named(warnings)) == WARNINGS
    assert set(named(notes)) == set(NOTICES) - WARNINGS


def called(path: Path, function: str) -> set[str]:
    """The texts that a function is called with first."""
    return {
        str(node.args[0].value)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith(function)
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }


def test_every_problem_of_the_status_has_its_row_and_no_other() -> None:
    problems = called(PACKAGE / "watching" / "status.py", "Problem")
    assert set(named(section(PAGES["monitoring"], "A plugin"))) == problems


# settings and arguments


def test_every_setting_has_its_row_and_no_other() -> None:
    assert sorted(named(PAGES["settings"])) == sorted(
        PREFIX + name.upper() for name in Settings.__dataclass_fields__
    )


@pytest.mark.parametrize("name", sorted(Settings.__dataclass_fields__))
def test_the_row_of_a_setting_has_its_default(name: str) -> None:
    default = Settings.__dataclass_fields__[name].default
    (cells,) = (each for each in rows(PAGES["settings"]) if f"`{PREFIX}{name.upper()}`" in each)
    if isinstance(default, (bool, int, str)):
        assert cells[1] == f"`{default}`"
    if default == ():
        assert cells[1] == "none"


def test_no_page_names_a_setting_that_there_is_not() -> None:
    known = {PREFIX + name.upper() for name in Settings.__dataclass_fields__}
    assert set(re.findall(rf"{PREFIX}[A-Z_]*[A-Z]", WHOLE)) == known


def test_every_variable_of_the_example_has_its_row_and_no_other() -> None:
    source = "".join(path.read_text() for path in (ROOT / "examples").rglob("*.py"))
    known = set(re.findall(r"HOST_APP_[A-Z_]*[A-Z]", source))
    assert set(named(PAGES["example"])) == known
    assert set(re.findall(r"HOST_APP_[A-Z_]*[A-Z]", WHOLE)) == known


def arguments(function: Callable[..., Any]) -> set[str]:
    return set(inspect.signature(function).parameters) - {"self", "app", "name"}


def test_every_argument_of_init_app_has_its_row_and_no_other() -> None:
    found = named(section(PAGES["app"], "What `init_app` takes"))
    assert set(found) == arguments(HexHubBackup.init_app)


def test_every_argument_of_a_bucket_is_named() -> None:
    text = section(PAGES["copies"], "A bucket")
    assert {each for each in arguments(S3Destination) if f"`{each}=" not in text} == set()


def test_every_extra_has_its_row_and_no_other() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    extras = set(config["options.extras_require"]) - {"dev", "example"}
    assert set(named(section(PAGES["app"], "Install it"))) == extras
    found = re.findall(r"hexhub_backup\[([\w,]+)\]'", WHOLE)
    assert set(",".join(found).split(",")) <= extras


def test_every_template_is_named() -> None:
    text = section(PAGES["app"], "Make the pages yours")
    found = {each for each in coded(text) if re.fullmatch(r"\w+\.html", each)}
    assert found == {path.name for path in (PACKAGE / "templates").rglob("*.html")}


def test_every_exported_name_is_in_the_reference() -> None:
    found = set(re.findall(r":: hexhub_backup\.(\w+)$", PAGES["api"], re.MULTILINE))
    assert found - {"errors"} == set(hexhub_backup.__all__)


# signals and audit events


def test_every_signal_has_its_row_and_no_other() -> None:
    found = [name for name in named(section(PAGES["signals"], "Signals")) if name in SIGNALS]
    assert found == list(SIGNALS)


@pytest.mark.parametrize("signal", SIGNALS)
def test_the_row_of_a_signal_has_its_payload(signal: str) -> None:
    (cells,) = (each for each in rows(PAGES["signals"]) if each[0] == f"`{signal}`")
    told = set(coded(str(SIGNALS[signal].__doc__)))
    # What a text says of the names is said of all signals.
    told -= {"collections.abc.Collection", "len()", "restore_completed", "cleared"}
    assert told <= set(coded(cells[2]))


def test_every_audit_event_has_its_row_and_no_other() -> None:
    source = "".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    events = set(re.findall(r'"(backup\.\w+)"', source))
    assert set(named(section(PAGES["signals"], "Audit events"))) == events


# commands


def commands(group: click.Group = backups_cli, *path: str) -> dict[str, click.Command]:
    """Each command by what is typed for it."""
    found: dict[str, click.Command] = {}
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            found.update(commands(command, *path, name))
        else:
            found[" ".join((*path, name))] = command
    return found


def options(command: click.Command) -> set[str]:
    return {name for each in command.params for name in each.opts if name.startswith("-")}


def shared_options() -> dict[str, set[str]]:
    """The options of several commands, and whose they are, as the manual has them."""
    found = {}
    for cells in rows(section(PAGES["cli"], "Options of several commands")):
        if cells[0].startswith("`"):
            whose = set(coded(cells[1])) or set(commands())
            found[coded(cells[0])[0].partition(" ")[0]] = whose
    return found


def test_every_command_has_its_entry_with_its_arguments_and_no_other() -> None:
    usages = {
        " ".join(
            (
                name,
                *(
                    str(each.metavar or str(each.name).upper())
                    for each in command.params
                    if isinstance(each, click.Argument)
                ),
            )
        )
        for name, command in commands().items()
    }
    headings = re.findall(r"^### `flask backups (.+)`$", PAGES["cli"], re.MULTILINE)
    assert set(headings) == usages


@pytest.mark.parametrize("name", sorted(commands()))
def test_the_entry_of_a_command_has_its_options_and_no_other(name: str) -> None:
    (title,) = (
        found
        for found in re.findall(r"^### (`flask backups .+`)$", PAGES["cli"], re.MULTILINE)
        if re.fullmatch(rf"`flask backups {name}( [^ ]*[A-Z].*)?`", found)
    )
    entry = section(PAGES["cli"], title)
    own = {each.partition(" ")[0] for each in re.findall(r"^- `(--[^`]+)`", entry, re.MULTILINE)}
    shared = {option for option, whose in shared_options().items() if name in whose}
    assert own | shared == options(commands()[name])
    assert not own & set(shared_options())


def test_every_command_of_a_text_can_be_typed() -> None:
    typed = {each for each in coded(WHOLE) if each.startswith("flask ")}
    for text in PAGES.values():
        for block in blocks(text, "console"):
            lines = block.replace("\\\n", " ").splitlines()
            typed |= {line for line in lines if re.match(r"\$ .*\bflask ", line)}
    of_host = {"db": migrations_cli, "seed": host_commands.seed}
    root = click.Group(commands={"backups": backups_cli, **of_host})
    unknown = []
    for line in typed:
        words = line.partition("flask ")[2].split()
        while words and words[0].startswith("-"):
            words = words[2 if words[0] == "--app" else 1 :]
        command: click.Command | None = root
        while isinstance(command, click.Group) and words:
            command = command.commands.get(words.pop(0))
        given = {word.partition("=")[0] for word in words if word.startswith("--")} - {"--help"}
        if words[:1] != ["…"] and (command is None or not given <= options(command)):
            unknown.append(line)
    # Flask's own, and what stands for any command.
    assert [each for each in unknown if "COMMAND" not in each and "flask run" not in each] == []


# addresses


def test_every_address_has_its_row_and_no_other(tmp_path: Path) -> None:
    app = create_app(tmp_path)
    found = {
        f"{method} {rule.rule.removeprefix('/admin/backups')}"
        for rule in app.url_map.iter_rules()
        if rule.endpoint.startswith("hexhub_backup.") and not rule.endpoint.endswith(".nothing")
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    told = {each for each in named(PAGES["routes"]) if re.match(r"[A-Z]+ /", each)}
    assert told == found


# the archive format


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_field_of_a_record_has_its_row_with_its_type(kind: Any) -> None:
    table = section(PAGES["archive-format"], kind.name.capitalize())
    found = {coded(cells[0])[0]: cells[1] for cells in rows(table) if cells[0].startswith("`")}
    assert found == kind.fields
    (cells,) = (each for each in rows(PAGES["models"]) if each[0] == kind.one)
    assert (tuple(coded(cells[1])), coded(cells[2])) == (kind.key, list(kind.fields))


def test_the_members_are_told_in_their_order() -> None:
    _, *table = rows(section(PAGES["archive-format"], "Members"))
    members = [coded(cells[1])[0] for cells in table]
    files = ["packages/…", "docs/…"]
    assert members == [*(kind.member for kind in KINDS), *files, SUMS, MANIFEST]


def test_the_manifest_that_is_shown_is_one() -> None:
    (shown,) = blocks(section(PAGES["archive-format"], "manifest.json"), "json")
    manifest = Manifest.parse(shown.replace("sha256:…", f"sha256:{'0' * 64}").encode())
    assert manifest.as_json().keys() == json.loads(shown).keys()
    assert (
        set(named(section(PAGES["archive-format"], "manifest.json"))) == manifest.as_json().keys()
    )


def test_the_limits_of_the_reader_are_told() -> None:
    limits = {cells[0]: cells[1] for cells in rows(section(PAGES["archive-format"], "JSON"))}
    assert limits["size of one record, and of the manifest"] == f"{MAX_ROW_BYTES >> 20} MiB"
    assert limits["depth of nesting"] == str(MAX_DEPTH)
    assert limits["digits of an integer"] == str(MAX_DIGITS)
    assert limits["keys and values in one record"] == f"{MAX_VALUES:,}"


def test_the_commands_for_hexhub_put_its_files_where_it_serves_them(tmp_path: Path) -> None:
    (commands_,) = blocks(PAGES["hexhub"], "sh")
    files = [
        ReleaseFile(type_, package, version)
        for type_ in FILE_TYPES
        for package, version in (("jason", "1.4.0"), ("a_b", "1.0.0-rc.1"), ("a_b", "1.0.0+x"))
    ]
    for file in files:
        flat = tmp_path / "hosted" / file.member
        flat.parent.mkdir(parents=True, exist_ok=True)
        flat.write_text(file.label)
    subprocess.run(["sh", "-euc", commands_], cwd=tmp_path, check=True)
    found = {str(each.relative_to(tmp_path)): each.read_text() for each in tmp_path.rglob("*.gz")}
    assert found == {hexhub_layout(file): file.label for file in files}


# code, and the whole as it is built


@pytest.mark.parametrize(
    ("page", "code"),
    [(page, code) for page, text in PAGES.items() for code in blocks(text, "python")],
)
def test_python_in_the_manual_can_be_compiled(page: str, code: str) -> None:
    compile(code, page, "exec")


def test_the_manual_registers_the_extension_as_the_readme_does() -> None:
    (lines,) = blocks(section(PAGES["README"], "Put it into your app"), "python")
    assert blocks(section(PAGES["app"], "Register it"), "python") == [lines]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manual, as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("manual")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going"),
            *("--doctree-dir", folder / "doctrees", DOCS, folder / "html"),
        ],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return folder / "html"


@pytest.mark.matrix
def test_the_manual_is_built_without_a_warning(built: Path) -> None:
    """So each of its links leads to a page and to an anchor that are there."""
    assert {path.stem for path in built.glob("*.html")} >= set(PAGES) - {"README"} - {
        page for page in PAGES if "/" in page
    }


@pytest.mark.matrix
def test_a_page_of_the_manual_asks_no_other_host_for_anything(built: Path) -> None:
    for path in built.rglob("*.html"):
        asked = re.findall(
            r'<(?:script|img|link|iframe)\b[^>]*(?:src|href)="([^"]+)"', path.read_text()
        )
        assert [address for address in asked if re.match(r"(?:\w+:)?//", address)] == [], path
    for path in built.rglob("*.css"):
        assert re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", path.read_text()) == [], path


@pytest.mark.parametrize("picture", sorted(DOCS.glob("*.png")), ids=lambda path: path.name)
def test_a_picture_is_small_and_shown(picture: Path) -> None:
    assert picture.stat().st_size < 150_000
    assert f"({picture.name})" in WHOLE
