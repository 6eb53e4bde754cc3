"""The book's words: spelt right and British, naming what exists, with numbers that stand somewhere else too."""

import importlib
import json
import re
import shlex
import subprocess
import sys
from argparse import ArgumentParser, _SubParsersAction
from collections.abc import Iterator
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import codespell_lib
import nbformat
import pytest
from prose import NOTEBOOKS, ROOT, docstrings, markdown, words

from usjepa.cli import parser

AMERICAN = Path(codespell_lib.__file__).parent / "data" / "dictionary_en-GB_to_en-US.txt"
BUDGET_S = 90
SLOWER = 1.5  # a machine that is slower or busier than ours, or that draws the phantom for the first time
BLOCK = re.compile(r"^(`{3,})([^\n]*)\n(.*?)^\1", re.M | re.S)
CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
ROOMS = ("usjepa", "tests", "benchmarks", "book", "notebooks", "workflow", ".ci")
# A time, a size or a count of operations: what a run or a machine says, not what a recipe sets.
MEASURED = re.compile(r"\b\d[\d.,]* ?(?:ms|s|seconds?|minutes?|hours?|days?|[KMG]i?B|[GTP]?FLOPs?|exaFLOP)\b")
SOURCE = re.compile(
    r"\{(?:cite|doc|ref|eq|numref|glue)[:\w]*\}|\]\(|`[^`]*\b(?:usjepa|make|benchmarks|tests|results)\b"
)
NUMBER = re.compile(r"(?<![\w.])\d+\.\d+(?![\w.]*\.\d)")
SHOWN = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?:e-?\d+)?")
# What a notebook's words work out before the reader's eyes: the result, and the sum that gives it.
WORKED_OUT = {
    "0.767": 0.683 + 0.0835,
    "1.2": 100 * 0.01 / 0.83,
    "1.7": 100 * (0.822 - 0.805),
}


def misspelt(texts: dict[str, str], folder: Path) -> list[str]:
    """Lines of codespell on texts without their code, American forms among the errors."""
    pairs = [line.split("->") for line in AMERICAN.read_text().splitlines()]
    american = folder / "american.txt"
    american.write_text(
        "".join(f"{form.strip()}->{british}\n" for british, forms in pairs for form in forms.split(","))
    )
    for name, text in texts.items():
        path = folder / "texts" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(words(text), encoding="utf-8")
    command = [sys.executable, "-m", "codespell_lib", "-D", "-", "-D", str(american), str(folder / "texts")]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert not found.stderr
    return [line.removeprefix(f"{folder}/texts/") for line in found.stdout.splitlines()]


def test_a_slip_and_an_american_form_are_found_and_code_is_not(tmp_path):
    text = (
        "The colour of teh clip\n\n`color` $center$\n\n```python\ncolor = 1\n```\nits center [a](http://color.org/teh)"
    )
    assert misspelt({"page.md": text}, tmp_path) == [
        "page.md.txt:1: teh ==> the",
        "page.md.txt:8: center ==> centre",
    ]


@pytest.mark.parametrize("read", [markdown, docstrings])
def test_words_are_spelt_right_and_british(read, tmp_path):
    assert misspelt(read(), tmp_path) == []


def commands(text: str) -> Iterator[list[str]]:
    """Calls of `usjepa` in a text's code blocks, as lists of words, a `\\` at a line's end joined."""
    for block in BLOCK.finditer(text):
        lines = "" if block.group(2) == "python" else block.group(3).replace("\\\n", " ")
        for line in lines.splitlines():
            for part in re.split(r"&&|\||;", line.split(" #")[0].split(" > ")[0]):
                if found := re.search(r"(?:^|/|-m | )usjepa (?=[a-z-])(.*)", part.removeprefix("$ ")):
                    yield shlex.split(found.group(1))


def fault(arguments: list[str], top: ArgumentParser) -> str:
    """The first verb or option of an incomplete call that does not exist, or nothing."""
    verbs, rest = top, list(arguments)
    while rest and (groups := [action for action in verbs._actions if isinstance(action, _SubParsersAction)]):
        if rest[0] not in groups[0].choices:
            return rest[0]
        verbs = groups[0].choices[rest.pop(0)]
    return next((word for word in rest if word.startswith("-") and word not in verbs._option_string_actions), "")


def test_a_command_that_does_not_exist_is_found():
    text = "```console\n.venv/bin/usjepa data check A && usjepa run vjepa \\\n  --nothing  # comment\n```\n"
    assert list(commands(text)) == [["data", "check", "A"], ["run", "vjepa", "--nothing"]]
    assert [fault(one, parser()) for one in commands(text)] == ["", "--nothing"]
    assert fault(["data", "chekc"], parser()) == "chekc"


def refusal(arguments: list[str]) -> str:
    """What the command line says to a call that it refuses, nothing if it would run."""
    with redirect_stderr(StringIO()) as said:
        try:
            parser().parse_args(arguments)
        except SystemExit as end:
            return said.getvalue() if end.code else ""
    return ""


def test_every_command_in_the_blocks_can_be_given():
    calls = [(name, call) for name, text in markdown().items() for call in commands(text)]
    assert len(calls) > 20
    assert {f"{name}: usjepa {shlex.join(call)}": said for name, call in calls if (said := refusal(call))} == {}
    assert "the following arguments are required" in refusal(["data", "check"])


def test_every_command_in_the_lines_exists():
    verbs = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    for name, text in markdown().items():
        for code in CODE.findall(BLOCK.sub("", text)):
            if found := re.match(r"(?:\.venv/bin/|python -m |-m )?usjepa ([a-z].*)", code):
                assert not fault(found.group(1).split(), parser()), f"{name}: {code}"
            elif found := re.fullmatch(r"make ([a-z]+)", code):
                assert found.group(1) in verbs, f"{name}: {code}"


def test_every_name_and_path_in_the_lines_exists():
    """Dotted names of the package are looked up, names with an underscore occur in code, paths lead to something."""
    files = [path for room in ROOMS for path in (ROOT / room).rglob("*") if path.suffix in {".py", ".pyi", ".yaml"}]
    code = "\n".join(path.read_text(encoding="utf-8") for path in [*files, *NOTEBOOKS, ROOT / "workflow" / "Snakefile"])
    known, prefixes = set(re.findall(r"\w+", code)), re.findall(r"""f["'](\w+_)\{""", code)
    unknown = []
    for name, text in markdown().items():
        for word in CODE.findall(BLOCK.sub("", text)):
            if word.startswith(tuple(f"{room}/" for room in ROOMS)) and re.fullmatch(r"[\w./-]+", word):
                exists = (ROOT / word).exists()
            elif re.fullmatch(r"(usjepa|uj)(\.\w+)+", word):
                exists = found(word)
            elif re.fullmatch(r"[A-Za-z]\w*_\w+", word):
                exists = word in known or any(word.removeprefix(one) in known for one in prefixes)
            else:
                exists = True
            if not exists:
                unknown.append(f"{name}: {word}")
    assert unknown == []


def found(dotted: str) -> bool:
    """Whether a dotted name leads to a module or to something in one."""
    thing = importlib.import_module("usjepa")
    for part in dotted.split(".")[1:]:
        if not hasattr(thing, part):
            try:
                importlib.import_module(f"{thing.__name__}.{part}")
            except ImportError:
                return False
        thing = getattr(thing, part)
    return True


def unsourced(text: str) -> list[str]:
    """Paragraphs, items and lines of tables that state something measured and name no page, command, file or source."""
    parts = re.split(r"\n\s*\n|\n(?=[-|*] |\d\. )", BLOCK.sub("", text))
    return [" ".join(part.split()) for part in parts if MEASURED.search(words(part)) and not SOURCE.search(part)]


def test_a_measured_number_without_a_source_is_found():
    assert unsourced("It takes 12 hours.\n\nA rate of 0.04.\n\nIt takes 3 minutes (`make book`).") == [
        "It takes 12 hours."
    ]


def test_what_is_measured_names_its_source():
    """In the book's pages a time, a size or a count of operations stands beside the command or page that gives it."""
    pages = {name: text for name, text in markdown().items() if name.startswith("book/")}
    assert [f"{name}: {part}" for name, text in pages.items() for part in unsourced(text)] == []


def loose(notebook: nbformat.NotebookNode, paper: str) -> list[str]:
    """Decimal numbers in a notebook's words that neither its code, nor its outputs, nor the paper's tables hold.

    As they are, rounded, or as percent.
    """
    shown = [paper]
    for cell in notebook.cells:
        shown += [cell.source] if cell.cell_type == "code" else []
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            shown += [output.get("text", ""), *(data[kind] for kind in data if kind in {"text/plain", "text/html"})]
    held = [float(number) for text in shown for number in SHOWN.findall(text)]
    held += [100 * number for number in held]
    prose = "\n".join(words(cell.source) for cell in notebook.cells if cell.cell_type == "markdown")
    stated = set(NUMBER.findall(prose))
    sums = {text: [*held, WORKED_OUT[text]] if text in WORKED_OUT else held for text in stated}
    return sorted(text for text in stated if not any(rounds_to(number, text) for number in sums[text]))


def rounds_to(number: float, text: str) -> bool:
    return abs(number - float(text)) <= 0.5 * 10.0 ** -len(text.split(".")[1]) + 1e-9


def test_a_number_that_stands_nowhere_is_found():
    cells = [
        nbformat.v4.new_markdown_cell("It ends at 0.74, or 74.3 %, not 0.83."),
        nbformat.v4.new_code_cell("0.7431"),
    ]
    assert loose(nbformat.v4.new_notebook(cells=cells), "") == ["0.83"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_numbers_in_a_notebooks_words_stand_in_its_cells(path):
    paper = "\n".join((ROOT / "usjepa" / f"{name}.py").read_text() for name in ("evaluation/paper", "recipe", "spec"))
    assert loose(nbformat.read(path, as_version=4), paper) == []


def test_notebooks_ran_within_their_budget():
    """The last run by `make book` or `make notebooks`, where there was one on this machine."""
    times = ROOT / "_build" / "notebook-times.json"
    if not times.exists():
        pytest.skip("no notebook was run here: `make book` or `make notebooks` leaves their times")
    late = {
        run["name"]: run["processor_s"]
        for run in json.loads(times.read_text())
        if run["processor_s"] > SLOWER * BUDGET_S
    }
    assert late == {}, f"seconds of processor, at most {BUDGET_S} on a quiet core"
