"""A verb lies in one file: nobody else asks which one it is."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import hexhub_backup
from hexhub_backup import signals
from hexhub_backup.verbs import VERBS

ROOT = Path(hexhub_backup.__file__).parent
#: Rooms in which `create` is the state of a record, or what becomes of its row.
RECORDS = ("registry/", "operations/", "testing/registries/", "web/plans.py", "plan_text.py")
#: What a form says of the button that was pressed.
BUTTONS = {("web/plans.py", "restore")}


def compared_texts(tree: ast.AST) -> set[str]:
    """The texts that something is compared with: by an operator, in a collection, by `match`."""
    operands: list[ast.expr] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            operands += [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            operands.append(node.value)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("in_", "not_in"):
            operands += node.args
    return {
        each.value
        for operand in operands
        for each in ast.walk(operand)
        if isinstance(each, ast.Constant) and isinstance(each.value, str)
    }


@pytest.mark.parametrize(
    "path",
    [path for path in ROOT.rglob("*.py") if path.parent.name != "verbs"],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_nobody_compares_with_the_name_of_a_verb(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    known = set(VERBS)
    if name.startswith(RECORDS):
        known.discard("create")
    found = compared_texts(ast.parse(path.read_text())) & known
    assert {text for text in found if (name, text) not in BUTTONS} == set()


def test_such_a_comparison_would_be_found() -> None:
    for text in (
        'operation.verb == "undo"',
        'operation.verb in ("verify", "undo")',
        "operations.c.verb.not_in(('undo',))",
        'match verb:\n  case "undo": pass',
    ):
        assert "undo" in compared_texts(ast.parse(text))


@pytest.mark.parametrize("verb", VERBS.values(), ids=lambda verb: verb.name)
def test_a_verb_has_its_own_file_and_words(verb: object) -> None:
    found = next(each for each in VERBS.values() if each is verb)
    assert (ROOT / "verbs" / f"{found.name}.py").exists()
    assert VERBS[found.name] is found
    assert found.noun
    assert found.step_words
    assert found.audit_event is None or found.failure_audit_event is None


def test_every_audit_event_of_a_verb_is_in_the_manual() -> None:
    manual = (ROOT.parent / "docs" / "signals.md").read_text()
    for verb in VERBS.values():
        for event in filter(None, (verb.audit_event, verb.failure_audit_event)):
            assert f"| `{event}` |" in manual


def test_the_signals_know_no_verb() -> None:
    assert not set(signals.SIGNALS) & set(VERBS)
