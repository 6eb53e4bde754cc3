"""Running, normalising and checking notebooks, on small ones made here."""

import csv
import json
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_output
from small_notebooks import fresh, save

from usjepa.errors import InputError
from usjepa.notebooks import (
    batch,
    check_notebooks,
    convert_parameters,
    default_parameters,
    normalise,
    picture,
    read_notebook,
    run_notebooks,
)
from usjepa.notebooks.files import to_text
from usjepa.notebooks.normal import WIDGET_STATE, WIDGET_VIEW

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def twice(tmp_path_factory):
    """The same notebook, with widgets, run into two folders."""
    folder = tmp_path_factory.mktemp("run")
    shown = "from ipywidgets import IntSlider, Text, VBox\nVBox([IntSlider(value=seed), Text('a')])"
    where = "import os\nprint(os.path.basename(os.getcwd()), os.environ['OMP_NUM_THREADS'])"
    path = save(fresh(where, shown), folder / "notebooks" / "small.ipynb")
    before = path.read_bytes()
    for out in ("first", "second"):
        run_notebooks([path], out=folder / out, times=folder / "times.json")
    assert path.read_bytes() == before, "the original must stay untouched"
    return folder


def test_two_runs_give_the_same_bytes(twice):
    first, second = ((twice / out / "small.ipynb").read_bytes() for out in ("first", "second"))
    assert b"widget-state" in first
    assert first == second


def test_a_run_notebook_passes_the_check(twice):
    assert check_notebooks([twice / "first" / "small.ipynb"]) == []


def test_a_notebook_runs_in_its_own_folder_with_one_thread(twice):
    notebook = nbformat.read(twice / "first" / "small.ipynb", as_version=4)
    assert notebook.cells[2].outputs[0].text == "notebooks 1\n"


def test_times_are_kept_beside_the_notebook_and_not_in_it(twice):
    (run,) = json.loads((twice / "times.json").read_text())
    assert run["name"] == "small"
    assert run["processor_s"] > 0
    assert run["elapsed_s"] > 0.5
    assert b"duration" not in (twice / "first" / "small.ipynb").read_bytes()
    assert sorted(path.name for path in (twice / "first").iterdir()) == ["small.ipynb"]


def test_a_failing_cell_names_notebook_and_cell_and_leaves_no_result(tmp_path):
    path = save(fresh("1 / 0"), tmp_path / "broken.ipynb")
    with pytest.raises(InputError, match=r"broken\.ipynb: cell \[2\] raised ZeroDivisionError"):
        run_notebooks([path], out=tmp_path / "out", times=tmp_path / "times.json")
    assert [item.name for item in (tmp_path / "out").iterdir()] == ["broken.failed.ipynb"]


def test_normalising_again_changes_nothing(twice):
    once = normalise(nbformat.read(twice / "first" / "small.ipynb", as_version=4))
    assert to_text(normalise(once)) == to_text(once)


def test_normalising_leaves_its_argument_and_chosen_ids_alone():
    notebook = fresh("1")
    notebook.cells[2].id = "the-loss"
    before = to_text(notebook)
    assert [cell.id for cell in normalise(notebook).cells] == ["cell-01", "cell-02", "the-loss"]
    assert to_text(notebook) == before


def test_pieces_of_one_stream_are_joined():
    notebook = fresh("1")
    notebook.cells[2].outputs = [new_output("stream", name="stdout", text=text) for text in ("a", "b\n")]
    assert [output.text for output in normalise(notebook).cells[2].outputs] == ["ab\n"]


def test_batch_refuses_an_unknown_name_before_anything_runs(tmp_path):
    path = save(fresh("print(seed)"), tmp_path / "small.ipynb")
    with pytest.raises(
        InputError, match=r"has no parameter 'sed'.*seed = 0, profile = 'tiny', rate = 0.5, data = None"
    ):
        batch(path, tmp_path / "out", [("seed", "1"), ("sed", "1")])
    assert not (tmp_path / "out").exists()


def rows(table: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(table.read_text().splitlines()))


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Two seeds, one of which fails while a file is missing; then again with the file, and a third seed."""
    folder = tmp_path_factory.mktemp("batch")
    code = "from pathlib import Path\nloss = rate / (seed + 1)\nassert seed < 2 or Path('ready').exists()"
    path = save(fresh(code), folder / "small.ipynb")
    given = [("seed", "1"), ("seed", "2"), ("rate", "1e-1"), ("data", "cuda:0")]
    with pytest.raises(InputError, match=r"small\.ipynb: cell \[\d\] raised AssertionError.*failed\.ipynb"):
        batch(path, folder / "out", given)
    before = {copy: copy.stat().st_mtime_ns for copy in (folder / "out").glob("small-*.ipynb")}
    first = rows(folder / "out" / "small.csv")
    (folder / "ready").touch()
    return before, first, rows(batch(path, folder / "out", [*given, ("seed", "3")]))


def test_batch_collects_the_numbers_that_variables_hold(swept):
    *_, last = swept
    assert [(row["seed"], row["rate"], row["data"], row["loss"]) for row in last] == [
        ("1", "0.1", "cuda:0", "0.05"),
        ("2", "0.1", "cuda:0", str(0.1 / 3)),
        ("3", "0.1", "cuda:0", "0.025"),
    ]
    assert list(last[0]) == ["notebook", "seed", "profile", "rate", "data", "seconds", "loss"]
    assert all(float(row["seconds"]) > 0 for row in last)


def test_batch_keeps_what_ran_beside_what_failed_and_resumes(swept):
    before, first, last = swept
    assert [row["seed"] for row in first] == ["1"]
    done = [copy for copy in before if "failed" not in copy.name]
    assert [copy.name for copy in done] == [first[0]["notebook"]] == [last[0]["notebook"]]
    assert done[0].stat().st_mtime_ns == before[done[0]], "what was done must not run again"


def test_batch_runs_again_what_an_edit_changed(tmp_path):
    names = set()
    for code in ("1", "2"):
        table = batch(save(fresh(code), tmp_path / "small.ipynb"), tmp_path / "out", [])
        names.add(rows(table)[0]["notebook"])
    assert len(names) == 2


def test_batch_executes_with_the_given_values(tmp_path):
    path = save(fresh("print(repr((seed, profile, rate, data)))"), tmp_path / "small.ipynb")
    table = batch(path, tmp_path / "out", [("profile", "7"), ("rate", "1")])
    result = nbformat.read(tmp_path / "out" / rows(table)[0]["notebook"], as_version=4)
    assert result.cells[-2].outputs[0].text == "(0, '7', 1, None)\n"


def test_a_value_of_another_type_is_refused():
    with pytest.raises(InputError, match="parameter seed: expected int, as its default 0 is, got 'abc'"):
        convert_parameters(fresh(), {"seed": "abc"}, "small.ipynb")


def test_a_whole_number_may_stand_for_a_decimal_one():
    assert convert_parameters(fresh(), {"rate": "1"}, "small.ipynb") == {"rate": 1}


def test_defaults_are_read_without_running_anything():
    assert default_parameters(fresh()) == {"seed": 0, "profile": "tiny", "rate": 0.5, "data": None}


def test_the_picture_of_the_readme_is_the_quickstarts_own() -> None:
    stored = picture(read_notebook(ROOT / "notebooks" / "00-quickstart.ipynb"), "overlay")
    assert (ROOT / "book" / "_static" / "overlay.png").read_bytes() == stored
    with pytest.raises(InputError, match="nothing: expected a cell with a picture"):
        picture(read_notebook(ROOT / "notebooks" / "00-quickstart.ipynb"), "nothing")


def test_progress_bars_are_not_stored() -> None:
    bar, shown = "0" * 31 + "a", "0" * 31 + "b"
    notebook = fresh("tqdm()")
    notebook.cells[2].outputs = [
        new_output("display_data", data={WIDGET_VIEW: {"model_id": model}, "text/plain": text})
        for model, text in ((bar, "pretrain:   0%|          | 0/250"), (shown, "IntSlider(value=3)"))
    ]
    notebook.metadata["widgets"] = {WIDGET_STATE: {"state": {bar: {"n": 1}, shown: {"n": 2}}, "version_major": 2}}
    stored = normalise(notebook)
    assert [output.data["text/plain"] for output in stored.cells[2].outputs] == ["IntSlider(value=3)"]
    assert [model["n"] for model in stored.metadata["widgets"][WIDGET_STATE]["state"].values()] == [2]
