"""Every text of a page is marked for translation, and translated."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from string import Formatter

import pytest
from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po
from jinja2 import Environment, nodes

import hexhub_backup

PACKAGE = Path(hexhub_backup.__file__).parent
TRANSLATIONS = PACKAGE / "translations"
TEMPLATES = sorted((PACKAGE / "templates").rglob("*.html"))

#: What says a literal in the reader's language.
SAYS = {"_", "plural", "unfilled"}
#: Functions whose arguments are names, not words.
OF_NAMES = SAYS | {"url_for", "getlist", "get", "csrf_token"}
#: Attributes that a reader sees or hears.
WORDS_IN = {"alt", "aria-label", "aria-description", "placeholder", "title", "summary", "label"}
#: What is the same in every language.
SAME = re.compile(r"(?:kB|MB|GB|SHA-256|JSON|TOTP|ID|age|curl|UTC|Hex|HexHub|flask|tar|[a-z_]+=)")
LETTERS = re.compile(r"[A-Za-z]{2}")
MARK = "\ufffc"


class Shown(HTMLParser):
    """What a reader sees of a template: its literal texts, and the numbers of its expressions."""

    def __init__(self) -> None:
        super().__init__()
        self.literal: list[str] = []
        self.expressions: set[int] = set()
        self._unseen = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._unseen += tag in ("script", "style", "code")
        for name, value in attrs:
            if name in WORDS_IN:
                self._seen(value or "")

    def handle_endtag(self, tag: str) -> None:
        self._unseen -= tag in ("script", "style", "code")

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self._seen(data)

    def _seen(self, text: str) -> None:
        literal = re.sub(f"{MARK}(\\d+){MARK}", self._expression, text)
        if LETTERS.search(SAME.sub("", literal)):
            self.literal.append(" ".join(literal.split()))

    def _expression(self, found: re.Match[str]) -> str:
        self.expressions.add(int(found[1]))
        return " "


def outputs(node: nodes.Node) -> Iterator[nodes.Expr]:
    for output in node.find_all(nodes.Output):
        yield from output.nodes


def words(node: nodes.Node | None) -> Iterator[str]:
    """The literals that an expression can show: not keys, nor what is compared."""
    if isinstance(node, nodes.Const):
        if isinstance(node.value, str):
            yield node.value
    elif isinstance(node, nodes.CondExpr):
        yield from words(node.expr1)
        if node.expr2 is not None:
            yield from words(node.expr2)
    elif isinstance(node, nodes.Concat):
        for each in node.nodes:
            yield from words(each)
    elif isinstance(node, nodes.Add | nodes.Or | nodes.And):
        yield from words(node.left)
        yield from words(node.right)
    elif (isinstance(node, nodes.Filter) and node.node is not None) or isinstance(
        node, nodes.Getitem
    ):
        yield from words(node.node)
    elif isinstance(node, nodes.Dict):
        for pair in node.items:
            yield from words(pair.value)
    elif isinstance(node, nodes.Tuple | nodes.List):
        for each in node.items:
            yield from words(each)


def is_text(word: str) -> bool:
    """Whether it is a text, where a name could stand too: those have no spaces or capitals."""
    return re.search(r"[A-Z][a-z]|[a-z’,.:] [a-zA-Z]", SAME.sub("", word)) is not None


def unmarked(path: Path) -> list[str]:
    template = Environment(autoescape=True).parse(path.read_text(encoding="utf-8"))
    expressions = list(outputs(template))
    source = "".join(
        each.data if isinstance(each, nodes.TemplateData) else f"{MARK}{number}{MARK}"
        for number, each in enumerate(expressions)
    )
    shown = Shown()
    shown.feed(source)
    shown.close()
    found = list(shown.literal)
    for number in shown.expressions:
        found += [word for word in words(expressions[number]) if LETTERS.search(SAME.sub("", word))]
    for call in template.find_all(nodes.Call):
        if isinstance(call.node, nodes.Name) and call.node.name not in OF_NAMES:
            for given in [*call.args, *(each.value for each in call.kwargs)]:
                found += [word for word in words(given) if is_text(word)]
    for assigned in template.find_all(nodes.Assign):
        found += [word for word in words(assigned.node) if is_text(word)]
    return found


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_every_text_of_a_template_is_marked(path: Path) -> None:
    assert unmarked(path) == []


def catalog(path: Path) -> Catalog:
    with path.open("rb") as file:
        return read_po(file, locale=path.parts[-3] if path.suffix == ".po" else None)


def languages() -> list[Path]:
    return sorted(TRANSLATIONS.glob("*/LC_MESSAGES/hexhub_backup.po"))


def test_the_collected_texts_are_those_of_the_source() -> None:
    tool = PACKAGE.parent / "tools" / "messages.py"
    checked = subprocess.run(
        [sys.executable, tool, "--check"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


def forms(text: str | Sequence[str] | None) -> Sequence[str]:
    return (text or "",) if isinstance(text, str | None) else text


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("path", languages(), ids=lambda path: path.parts[-3])
def test_every_text_is_translated_with_its_values(path: Path) -> None:
    wrong = []
    for message in catalog(path):
        if not message.id:
            continue
        english, said = forms(message.id), forms(message.string)
        if message.fuzzy or not all(said):
            wrong.append(f"not translated: {english[0]}")
        # The number may be left out of the form for one.
        elif fields(said[-1]) != fields(english[-1]) or not fields(said[0]) <= fields(english[-1]):
            wrong.append(f"other values: {english[0]}")
    assert wrong == []
