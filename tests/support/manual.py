"""The pages of the manual as texts, and what is in them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text()
#: Each page by its name, the README among them.
PAGES = {
    "README": README,
    **{
        str(path.relative_to(DOCS).with_suffix("")): path.read_text()
        for path in sorted(DOCS.rglob("*.md"))
    },
}


def blocks(text: str, language: str) -> list[str]:
    """The code blocks of a language, without the blanks that they have in a list."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    return [re.sub(f"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


def rows(text: str) -> Iterator[list[str]]:
    """The cells of each row of each table; those of the headings, too."""
    for line in text.splitlines():
        if line.startswith("| ") and not line.startswith("| ---"):
            yield [cell.strip() for cell in line.strip("|").split(" |")]


def section(text: str, title: str) -> str:
    """What follows a heading, up to the next of its own level or a higher one."""
    found = re.search(rf"^(#+) {re.escape(title)}$", text, re.MULTILINE)
    assert found is not None, f"there is no heading {title!r}"
    rest = text[found.end() :]
    end = re.search(rf"^#{{1,{len(found[1])}}} ", rest, re.MULTILINE)
    return rest if end is None else rest[: end.start()]


def coded(cell: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def named(text: str) -> list[str]:
    """What the first cell of each row names in backticks."""
    return [coded(cells[0])[0] for cells in rows(text) if cells[0].startswith("`")]


def functions_of(code: str) -> dict[str, set[str]]:
    """Of each class in the code, by the name of its base, the functions."""
    return {
        ast.unparse(node.bases[0]): {
            line.name for line in node.body if isinstance(line, ast.FunctionDef)
        }
        for node in ast.parse(code).body
        if isinstance(node, ast.ClassDef)
    }
