"""Collects the texts of the pages for translation, and compiles their translations.

`messages.py` writes `hexhub_backup/translations/hexhub_backup.pot`, brings each
`LANGUAGE/LC_MESSAGES/hexhub_backup.po` up to date with it, and compiles that to the `.mo` beside
it. What is new in a `.po` has an empty translation.
`messages.py --check` writes nothing, and fails where something would change.

What is a message:
- in templates what `_(…)`, `unfilled(…)` and `plural(…, one, many)` say;
- in Python what errors, faults, notices, problems, refusals and lines of a log are made of, the
  words of verbs, both forms of `plural`, and what is marked with `marked` and `marked_plural`. A
  value in an f-string is a placeholder by its name, or by that of what it is made of.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from babel.messages.catalog import Catalog
from babel.messages.mofile import read_mo, write_mo
from babel.messages.pofile import read_po, write_po
from jinja2 import Environment, nodes

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "hexhub_backup"
TRANSLATIONS = PACKAGE / "translations"
TEMPLATE = TRANSLATIONS / "hexhub_backup.pot"

#: What is said by calling these, wherever they are called.
_SAID_BY = {
    *("Fault", "Notice", "NoticeCode", "Problem", "Verb"),
    *("abort", "asked", "fault", "log", "marked", "refuse", "translated"),
}
_PLURALS = {"plural": 1, "marked_plural": 0}
_IN_TEMPLATES = ("_", "unfilled", "plural")
#: What `init_app` refuses is read in a terminal.
_FOR_DEVELOPERS = {"SettingError", "MappingError", "ValueError", "TypeError", "RuntimeError"}
#: A text has a space in it or begins as a sentence does: others are codes and names.
_TEXT = re.compile(r"(?s)[A-Z][a-z].*|.*[a-z…] .*|.* [a-z].*")

Message = tuple[str, str | None]


def messages() -> dict[Message, None]:
    """Every message with its plural or None, in the order of the files."""
    found: dict[Message, None] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        found |= dict.fromkeys(_Python(ast.parse(path.read_text("utf-8"))).messages())
    for path in sorted(PACKAGE.rglob("*.html")):
        found |= dict.fromkeys(_of_template(path))
    return found


def _of_template(path: Path) -> Iterator[Message]:
    for call in Environment(autoescape=True).parse(path.read_text("utf-8")).find_all(nodes.Call):
        if not isinstance(call.node, nodes.Name) or call.node.name not in _IN_TEMPLATES:
            continue
        texts = [
            each.value if isinstance(each, nodes.Const) else None
            for each in call.args[call.node.name == "plural" :]
        ]
        if None in texts:
            # Both are said to whoever calls a macro, which hands them on.
            if all(isinstance(each, nodes.Name) for each in call.args[1:]) and len(texts) == 2:
                continue
            sys.exit(f"{path.name}, line {call.lineno}: what is said has to be a literal")
        yield (texts[0], texts[1] if call.node.name == "plural" else None)


class _Python:
    """The messages of one module."""

    def __init__(self, module: ast.Module) -> None:
        self._module = module

    def messages(self) -> Iterator[Message]:
        yield from self._within(self._module, {})

    def _within(self, scope: ast.AST, outer: dict[str, list[ast.expr]]) -> Iterator[Message]:
        """Of a module, a class or a function, whose names are those of what is around it too."""
        names = {name: list(values) for name, values in outer.items()}
        inner: list[ast.AST] = []
        calls: list[ast.Call] = []
        todo = list(ast.iter_child_nodes(scope))
        while todo:
            node = todo.pop(0)
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
                inner.append(node)
                continue
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                names.setdefault(node.targets[0].id, []).append(node.value)
            elif isinstance(node, ast.AnnAssign | ast.AugAssign) and isinstance(
                node.target, ast.Name
            ):
                names.setdefault(node.target.id, []).extend([node.value] if node.value else [])
            if isinstance(node, ast.Call):
                calls.append(node)
            todo[:0] = list(ast.iter_child_nodes(node))
        if isinstance(scope, ast.ClassDef) and scope.name.endswith("Error"):
            for value in names.get("title", []):
                yield from self._texts(value, {})
        for call in calls:
            yield from self._of_call(call, names)
        for each in inner:
            yield from self._within(each, names)

    def _of_call(self, call: ast.Call, names: dict[str, list[ast.expr]]) -> Iterator[Message]:
        function = call.func
        name = getattr(function, "id", getattr(function, "attr", ""))
        if name in _PLURALS:
            pair = call.args[_PLURALS[name] :][:2]
            if all(isinstance(each, ast.Constant) for each in pair) and len(pair) == 2:
                yield str(_literal(pair[0])), _literal(pair[1])
        elif name in _SAID_BY or (name.endswith("Error") and name not in _FOR_DEVELOPERS):
            one: dict[str, str | None] = {}
            for keyword in call.keywords:
                one[str(keyword.arg)] = _literal(keyword.value)
            if name == "NoticeCode":
                yield str(one["one"]), one["many"]
            if name == "marked":
                # Also what a language can only say in another order, such as `{what} ({where})`.
                yield from ((text, None) for text in _alternatives(call.args[0], names))
                return
            for argument in [*call.args, *(k.value for k in call.keywords)]:
                if name == "NoticeCode" and _literal(argument) in (one["one"], one["many"]):
                    continue
                for text, _ in self._texts(argument, names, every=name == "marked"):
                    # Its meaning is for the manual.
                    if name != "NoticeCode" or argument is not call.args[2]:
                        yield text, None

    def _texts(
        self, value: ast.expr, names: dict[str, list[ast.expr]], *, every: bool = False
    ) -> Iterator[Message]:
        """Those that are for people: `every` one, or those that look so."""
        for text in _alternatives(value, names):
            if every or _TEXT.fullmatch(re.sub(r"\{\w+\}", "", text)):
                yield text, None


def _literal(value: ast.expr) -> str | None:
    texts = list(_alternatives(value, {}))
    return texts[0] if len(texts) == 1 else None


def _alternatives(value: ast.expr, names: dict[str, list[ast.expr]]) -> Iterator[str]:
    """All texts that an expression can have."""
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        yield value.value
    elif isinstance(value, ast.JoinedStr):
        yield _of_f_string(value)
    elif isinstance(value, ast.IfExp):
        yield from _alternatives(value.body, names)
        yield from _alternatives(value.orelse, names)
    elif isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add):
        for left in _alternatives(value.left, names):
            for right in _alternatives(value.right, names):
                yield left + right
    elif isinstance(value, ast.Name):
        for assigned in names.get(value.id, []):
            yield from _alternatives(assigned, {})
    elif isinstance(value, ast.Dict):
        for each in value.values:
            yield from _alternatives(each, names)
    elif (
        isinstance(value, ast.Call)
        and isinstance(value.func, ast.Attribute)
        and value.func.attr == "format"
    ):
        yield from _alternatives(value.func.value, names)


def _of_f_string(string: ast.JoinedStr) -> str:
    text, used = "", set()
    for part in string.values:
        if isinstance(part, ast.Constant):
            text += str(part.value)
            continue
        name = known = _name_of(getattr(part, "value", None)) or "value"
        while name in used:
            name = f"{known}{int(name.removeprefix(known) or 1) + 1}"
        used.add(name)
        text += f"{{{name}}}"
    return text


def _name_of(value: object) -> str:
    """What tells a translator most of a value: `place` of `self._place`, of `place.name`, of
    `shown(place)`, of `", ".join(place)` and of `place / 2`."""
    return next(filter(None, _names_of(value)), "")


def _names_of(value: object) -> Iterator[str]:
    if isinstance(value, ast.Name):
        yield value.id.strip("_").lower()
    elif isinstance(value, ast.Attribute):
        owner = _name_of(value.value)
        if value.attr == "name" and owner != "self":
            yield owner
        yield {"__name__": "type"}.get(value.attr, value.attr.strip("_").lower())
    elif isinstance(value, ast.Call):
        yield from map(_key, value.args)
        yield from map(_name_of, (*value.args, value.func))
    elif isinstance(value, ast.Subscript):
        yield _key(value.slice)
        yield _name_of(value.value)
    elif isinstance(value, ast.BinOp | ast.BoolOp):
        parts = value.values if isinstance(value, ast.BoolOp) else (value.left, value.right)
        yield from map(_name_of, parts)


def _key(value: ast.expr) -> str:
    key = value.value if isinstance(value, ast.Constant) else None
    return key if isinstance(key, str) and key.isidentifier() else ""


# catalogs


def new_template() -> Catalog:
    catalog = Catalog(project="hexhub_backup", fuzzy=False)
    catalog.header_comment = ""
    for one, many in messages():
        catalog.add(one if many is None else (one, many))
    return catalog


def _read_po(path: Path) -> Catalog:
    with path.open("rb") as file:
        return read_po(file, locale=None if path == TEMPLATE else path.parent.parent.name)


def _read_mo(path: Path) -> Catalog:
    with path.open("rb") as file:
        return read_mo(file)


def _texts(catalog: Catalog) -> dict[Any, Any]:
    """What counts of a catalog: its head tells which Babel wrote it, and when."""
    return {_hashable(message.id): _hashable(message.string) for message in catalog if message.id}


def _hashable(text: Any) -> Any:
    """Babel has the forms of a plural in a tuple or in a list."""
    return tuple(text) if isinstance(text, list) else text


def _translated(catalog: Catalog) -> dict[Any, Any]:
    """What is compiled of a catalog."""
    return {english: said for english, said in _texts(catalog).items() if said and all(said)}


def _write_po(catalog: Catalog, file: BinaryIO) -> None:
    write_po(file, catalog, width=100, sort_output=True)


def _write_mo(catalog: Catalog, file: BinaryIO) -> None:
    write_mo(file, catalog)


def changes() -> Iterator[tuple[Path, Callable[[BinaryIO], None]]]:
    """The files that are not what the source says, each with what writes it."""
    template = new_template()
    if not TEMPLATE.exists() or _texts(_read_po(TEMPLATE)).keys() != _texts(template).keys():
        yield TEMPLATE, partial(_write_po, template)
    for path in sorted(TRANSLATIONS.glob("*/LC_MESSAGES/hexhub_backup.po")):
        catalog, before = _read_po(path), _read_po(path)
        catalog.update(template, no_fuzzy_matching=True, keep_user_comments=True)
        catalog.obsolete.clear()
        if _texts(catalog) != _texts(before):
            yield path, partial(_write_po, catalog)
        compiled = path.with_suffix(".mo")
        if not compiled.exists() or _translated(_read_mo(compiled)) != _translated(catalog):
            yield compiled, partial(_write_mo, catalog)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    changed = False
    for path, write in changes():
        changed = True
        print(f"{path.relative_to(ROOT)} {'would change' if given.check else 'is written'}")
        if not given.check:
            with path.open("wb") as file:
                write(file)
    if given.check and changed:
        sys.exit("Run 'make messages', and translate what is new.")


if __name__ == "__main__":
    main()
