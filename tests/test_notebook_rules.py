"""What a stored notebook must be: each rule with a notebook that breaks it, then the book's own against all of them.

What makes one stale is in `test_notebook_uses.py`.
"""

from pathlib import Path

import pytest
from nbformat.v4 import new_output
from small_notebooks import save, stored

from usjepa.errors import InputError
from usjepa.notebooks import check_notebooks

ROOT = Path(__file__).parents[1]


def wrong_kernel(notebook):
    notebook.metadata.kernelspec.name = "conda-env"


def no_title(notebook):
    notebook.cells[0].source = "A title"


def no_parameters(notebook):
    notebook.cells[1].metadata.tags = ["setup"]


def never_run(notebook):
    notebook.cells[1].execution_count = notebook.cells[2].execution_count = None


def half_run(notebook):
    notebook.cells[2].execution_count = None


def counts_out_of_order(notebook):
    notebook.cells[1].execution_count = 3


def last_cell_alone(notebook):
    notebook.cells[1].execution_count, notebook.cells[2].execution_count = None, 1


def error_output(notebook):
    notebook.cells[2].outputs = [new_output("error", ename="KeyError", evalue="'a'", traceback=[])]


def stderr_output(notebook):
    notebook.cells[2].outputs = [new_output("stream", name="stderr", text="UserWarning: beware\n")]


def absolute_path(notebook):
    notebook.cells[2].outputs = [new_output("display_data", data={"text/html": "<p>read /home/me/camus</p>"})]


def large_file(notebook):
    notebook.cells[2].outputs = [new_output("display_data", data={"image/png": "A" * 1_000_001})]


def path_in_a_table(notebook):
    notebook.cells[2].outputs = [new_output("execute_result", data={"application/json": {"file": "/root/camus"}})]


def edited_cell(notebook):
    notebook.cells[2].source = "print(seed + 1)"


def no_record(notebook):
    notebook.metadata.usjepa = {}


BREAKERS = [
    (wrong_kernel, "kernel is 'conda-env'"),
    (no_title, "the first cell is no title"),
    (no_parameters, "0 cells tagged `parameters`"),
    (never_run, "never run: 0 of 2 code cells; run `make notebooks`"),
    (half_run, "half run: 1 of 2 code cells; run `make notebooks`"),
    (counts_out_of_order, "not executed once from the top: execution counts are [3, 2]"),
    (last_cell_alone, "execution counts are [None, 1]"),
    (error_output, "cell 3: raised KeyError"),
    (stderr_output, "cell 3: writes to stderr: 'UserWarning: beware'"),
    (absolute_path, "cell 3: its output holds a path of one machine (/home)"),
    (large_file, "at most 1,000,000 allowed"),
    (path_in_a_table, "cell 3: its output holds a path of one machine (/root)"),
    (edited_cell, "stale: its code cells changed since its outputs were made; run `usjepa notebooks run "),
    (no_record, "stale: its code cells changed since its outputs were made"),
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
