"""The book's prose without its code: what its pages, notebooks and docstrings say in words, line by line."""

import ast
import re
from pathlib import Path

import nbformat

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "book").glob("*.md"), ROOT / "workflow/README.md", ROOT / "results/README.md"]
)
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
MODULES = sorted([*(ROOT / "usjepa").rglob("*.py"), *(ROOT / "benchmarks").glob("*.py")])
NO_WORDS = [
    re.compile(r"^(`{3,}|~{3,})(.*?)^\1", re.M | re.S),  # code blocks
    re.compile(r"(`+)[^`].*?\1", re.S),  # code
    re.compile(r"\$\$.*?\$\$|\$[^$\n]+\$", re.S),  # formulas
    re.compile(r"\]\([^)]*\)|<?https?://\S+|arXiv[: ][\d.]+\d"),  # addresses
    re.compile(r"<[a-z/!][^>]*>", re.S),  # HTML
]


def markdown() -> dict[str, str]:
    """The Markdown of each page and notebook, by its path."""
    pages = {path: path.read_text(encoding="utf-8") for path in PAGES}
    for path in NOTEBOOKS:
        cells = nbformat.read(path, as_version=4).cells
        pages[path] = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return {path.relative_to(ROOT).as_posix(): text for path, text in pages.items()}


def docstrings() -> dict[str, str]:
    """The docstrings of each module, by its path."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    texts = {}
    for path in MODULES:
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        found = [ast.get_docstring(node) for node in nodes if isinstance(node, kinds)]
        texts[path.relative_to(ROOT).as_posix()] = "\n\n".join(filter(None, found))
    return texts


def words(text: str) -> str:
    """A text without code, formulas and addresses; its lines keep their numbers."""
    for pattern in NO_WORDS:
        text = pattern.sub(lambda found: "\n" * found.group().count("\n"), text)
    return text
