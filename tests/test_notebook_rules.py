"""What a stored notebook must be: each rule with a notebook that breaks it, then the book's own against all of them."""

from pathlib import Path

import pytest
from nbformat.v4 import new_output
from small_notebooks import fresh, save, stored

import usjepa
from usjepa.errors import InputError
from usjepa.notebooks import check_notebooks, normalise

ROOT = Path(__file__).parents[1]


def test_a_notebook_that_was_never_run_fails(tmp_path):
    (problem, *_) = check_notebooks([save(normalise(fresh("print(seed)")), tmp_path / "unrun.ipynb")])
    assert "not executed once from the top: execution counts are [None, None]" in problem


def wrong_kernel(notebook):
    notebook.metadata.kernelspec.name = "conda-env"


def no_title(notebook):
    notebook.cells[0].source = "A title"


def no_parameters(notebook):
    notebook.cells[1].metadata.tags = ["setup"]


def counts_out_of_order(notebook):
    notebook.cells[1].execution_count = 3


def error_output(notebook):
    notebook.cells[2].outputs = [new_output("error", ename="KeyError", evalue="'a'", traceback=[])]


def stderr_output(notebook):
    notebook.cells[2].outputs = [new_output("stream", name="stderr", text="UserWarning: beware\n")]


def absolute_path(notebook):
    notebook.cells[2].outputs = [new_output("display_data", data={"text/html": "<p>read /home/me/camus</p>"})]


def large_file(notebook):
    notebook.cells[2].outputs = [new_output("display_data", data={"image/png": "A" * 1_000_001})]


def edited_cell(notebook):
    notebook.cells[2].source = "print(seed + 1)"


def other_package(notebook):
    notebook.metadata.usjepa.package = "0" * 64


BREAKERS = [
    (wrong_kernel, "kernel is 'conda-env'"),
    (no_title, "the first cell is no title"),
    (no_parameters, "0 cells tagged `parameters`"),
    (counts_out_of_order, "execution counts are [3, 2]"),
    (error_output, "cell 3: raised KeyError"),
    (stderr_output, "cell 3: writes to stderr: 'UserWarning: beware'"),
    (absolute_path, "cell 3: its output holds a path of one machine (/home)"),
    (large_file, "at most 1,000,000 allowed"),
    (edited_cell, "stale: its code cells changed since its outputs were made; run `make notebooks`"),
    (other_package, "stale: the package's source changed since its outputs were made; run `make notebooks`"),
]


@pytest.mark.parametrize(("break_it", "message"), BREAKERS)
def test_each_rule_finds_its_fault_and_only_that(tmp_path, break_it, message):
    notebook = stored()
    assert check_notebooks([save(notebook, tmp_path / "small.ipynb")]) == []
    break_it(notebook)
    (problem,) = check_notebooks([save(notebook, tmp_path / "small.ipynb")])
    assert problem.startswith(f"{tmp_path / 'small.ipynb'}: ")
    assert message in problem


def test_a_picture_that_spells_a_path_by_chance_is_no_path(tmp_path):
    notebook = stored()
    picture = {"image/png": "/home/AAAA", "text/html": '<img src="data:image/webp;base64,x/tmp/AAAA">'}
    notebook.cells[2].outputs = [new_output("display_data", data=picture)]
    assert check_notebooks([save(notebook, tmp_path / "small.ipynb")]) == []


def test_a_change_of_the_package_makes_outputs_stale(tmp_path, monkeypatch):
    monkeypatch.setattr(usjepa, "__path__", [str(tmp_path / "package")])
    (tmp_path / "package").mkdir()
    source = tmp_path / "package" / "losses.py"
    source.write_text("one = 1\n")
    path = save(stored(), tmp_path / "small.ipynb")
    assert check_notebooks([path]) == []
    source.write_text("one = 2\n")
    assert "the package's source changed" in check_notebooks([path])[0]


def test_what_is_no_notebook_is_refused(tmp_path):
    with pytest.raises(InputError, match="no readable file"):
        check_notebooks([tmp_path / "absent.ipynb"])
    (tmp_path / "text.ipynb").write_text("hello")
    with pytest.raises(InputError, match=r"text\.ipynb: expected a notebook, got something else"):
        check_notebooks([tmp_path / "text.ipynb"])


def test_the_books_notebooks_are_executed_clean_and_fresh():
    paths = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert paths
    assert check_notebooks(paths) == []
