"""The map of the paper, `book/map.csv`: what it names exists, what the paper has is in it, both of its tables agree."""

import ast
import json
import re
import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name

import pytest

import usjepa
from usjepa.evaluation.paper import Protocol
from usjepa.results.claims import CLAIMS

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ROOT / "notebooks"
sys.path.append(str(ROOT / "book" / "_ext"))
paper_map = import_module("paper_map")

SECTION_3_1 = {
    *("ClipSpec.frames", "ClipSpec.step_frames", "ClipSpec.size_px", "ModelSpec", "load_published", "choose_device"),
    *("PretrainRecipe.batch", "PretrainRecipe.steps", "PretrainRecipe.warmup_steps", "PretrainRecipe.start"),
    *("PretrainRecipe.rate_peak", "PretrainRecipe.rate_final", "training.device.adamw"),
    *("training.schedules.warmup_cosine", "training.schedules.cosine", "training.segment.segmentation_loss"),
    *("SegmentRecipe.batch", "SegmentRecipe.steps", "SegmentRecipe.rate_peak", "SegmentRecipe.trains_encoder"),
    *("model.segmenter.AttentiveProbe", "model.segmenter.TokenDecoder"),
}
SCORES = {"dsc", "ji", "ppv", "recall"}


@cache
def cells_of(folder: Path) -> set[str]:
    """The code cells of all notebooks, as the map writes them."""
    notebooks = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("[0-9]*.ipynb")}
    return {
        f"{name}#{cell['id']}"
        for name, notebook in notebooks.items()
        for cell in notebook["cells"]
        if cell["cell_type"] == "code"
    }


@cache
def names_of_tests(folder: Path) -> set[str]:
    """The test functions of all files."""
    trees = {path.name: ast.parse(path.read_text(encoding="utf-8")) for path in folder.glob("test_*.py")}
    return {
        f"tests/{name}::{node.name}"
        for name, tree in trees.items()
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def exists(name: str) -> bool:
    """Whether a dotted name is there to be imported."""
    try:
        resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


def faults(lines, notebooks: Path = NOTEBOOKS) -> set[str]:
    """What the map names and nobody has, and what it should have and lacks."""
    cells, tests = cells_of(notebooks), names_of_tests(ROOT / "tests")
    items = {kind: {line.item for line in lines if line.kind == kind} for kind in paper_map.KINDS}
    codes = {line.code for line in lines}
    wanted = {
        "equation": {f"Eq. {number}" for number in (1, 2, 3, 4)},
        "table": {"Table 1", "Table 2"},
        "figure": {"Figure 1", "Figure 2"},
        "claim": {claim.key for claim in CLAIMS},
    }
    fields = SECTION_3_1 | SCORES | {f"evaluation.paper.Protocol.{field}" for field in Protocol._fields}
    return (
        {code for code in codes if not exists(code)}
        | {line.cell for line in lines} - cells
        | {line.test for line in lines} - tests
        | {item for kind, some in wanted.items() for item in some ^ items[kind]}
        | {f"usjepa.{field}" for field in fields} - codes
    )


def test_what_the_map_names_exists_and_what_the_paper_has_is_in_it() -> None:
    assert faults(paper_map.lines()) == set()


def test_a_renamed_function_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("usjepa.model.segmenter.TokenDecoder")
    assert faults(paper_map.lines()) == {"usjepa.model.segmenter.TokenDecoder"}


def test_a_renamed_field_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("usjepa.recipe.PretrainRecipe.momentum")
    assert faults(paper_map.lines()) == {"usjepa.PretrainRecipe.momentum"}


@pytest.mark.parametrize("change", ["deleted", "renamed", "turned into text"])
def test_a_changed_cell_is_noticed(change: str, tmp_path: Path) -> None:
    for path in NOTEBOOKS.glob("[0-9]*.ipynb"):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        for cell in [cell for cell in notebook["cells"] if (path.stem[:2], cell["id"]) == ("08", "offset")]:
            if change == "deleted":
                notebook["cells"].remove(cell)
            cell |= {"cell_type": "markdown"} if change == "turned into text" else {"id": "another"}
        (tmp_path / path.name).write_text(json.dumps(notebook), encoding="utf-8")
    assert faults(paper_map.lines(), tmp_path) == {"08-relative-offset#offset"}


@pytest.mark.parametrize(
    ("item", "missing"),
    [
        ("Eq. 2", {"Eq. 2"}),
        ("Table 1", {"Table 1"}),
        ("Figure 1", {"Figure 1"}),
        ("locality", {"locality"}),
        ("recall", {"usjepa.recall"}),
        ("cross-entropy", {"usjepa.training.segment.segmentation_loss"}),
        ("warm-up", {"usjepa.PretrainRecipe.warmup_steps", "usjepa.evaluation.paper.Protocol.warmup_epochs"}),
    ],
)
def test_an_item_that_is_left_out_is_noticed(item: str, missing: set[str]) -> None:
    assert faults([line for line in paper_map.lines() if line.item != item]) == missing


def test_a_renamed_test_and_an_invented_claim_are_noticed() -> None:
    first, *others = paper_map.lines()
    assert faults([first._replace(test=f"{first.test}_too"), *others]) == {f"{first.test}_too"}
    assert faults([first._replace(kind="claim", item="cures-all"), first, *others]) == {"cures-all"}


def test_both_tables_hold_the_lines_of_the_file_and_nothing_else() -> None:
    lines = paper_map.lines()
    anchors = {paper_map.row_link(line.item).split('"')[1].partition("#")[2]: line.item for line in lines}
    forth = {
        (anchors[anchor], code)
        for anchor, row in re.findall(r'\| <span id="([^"]+)"></span>(.*)', paper_map.from_paper())
        for code in re.findall(r"\{py:obj\}`(\S+) <", row)
    }
    back = {
        (anchors[anchor], code)
        for code, row in re.findall(r"\| \{py:obj\}`(\S+) <[^>]+>` \|(.*)", paper_map.from_code())
        for anchor in re.findall(r'"map\.html#([^"]+)"', row)
    }
    assert forth == back == {(line.item, line.code) for line in lines}
    assert len(anchors) == len({line.item for line in lines})


def test_names_are_public_and_as_short_as_they_can_be() -> None:
    for code in {line.code for line in paper_map.lines()}:
        package, *path = code.split(".")
        assert package == "usjepa"
        assert not any(part.startswith("_") for part in path), code
        explained = re.search(r"\.(\w+)>`", paper_map.code_link(code))
        assert explained
        assert path[0] == explained[1] or explained[1] not in usjepa.__all__, f"{code} has a shorter name"


def test_an_item_says_once_what_it_is_and_a_claim_in_the_words_of_the_ledger() -> None:
    said = {claim.key: claim.says for claim in CLAIMS}
    for line in paper_map.lines():
        assert line.kind in paper_map.KINDS
        assert line.place
        assert line.says == said.setdefault(line.item, line.says)
    raw = (ROOT / "book" / "map.csv").read_text(encoding="utf-8")
    assert not [line for line in raw.splitlines() if re.match(r"claim,[^,]+,[^,]", line)]


def test_the_method_page_points_to_every_equation_part_and_score() -> None:
    page = (ROOT / "book" / "method.md").read_text(encoding="utf-8")
    shown = {item for block in re.findall(r"<!-- where ([^>]+) -->", page) for item in block.split(", ")}
    assert shown >= {line.item for line in paper_map.lines() if line.kind in ("equation", "part", "score")}
    assert shown <= {line.item for line in paper_map.lines()}
    for item in shown:
        points = paper_map.where(*item.split())
        assert points.count("{ref}") == sum(line.item == item for line in paper_map.lines())
