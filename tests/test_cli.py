import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from usjepa.cli import main
from usjepa.data.store import Store
from usjepa.recipe import SegmentRecipe
from usjepa.recipe_file import recipe_hash, to_json
from usjepa.results.failures import failure_of
from usjepa.results.plan import Cell


def said(capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    captured = capsys.readouterr()
    return captured.out, captured.err


def test_phantom_prepare_and_run_make_one_path(tmp_path: Path, capsys, micro: SegmentRecipe) -> None:
    (tmp_path / "micro.json").write_text(to_json(micro))
    data, store, runs = (str(tmp_path / name) for name in ("camus", "store", "runs"))
    assert main(["data", "phantom", data, "--patients", "6", "--rows", "48"]) == 0
    assert main(["data", "prepare", data, store, "--size", "16"]) == 0
    assert "12 sequences" in said(capsys)[0]
    arguments = ["run", str(tmp_path / "micro.json"), "--data", store, "--runs", runs, "--device", "cpu"]
    assert main(arguments) == 0
    first = said(capsys)[0]
    assert recipe_hash(micro) in first
    assert "over structures" in first
    assert {path.name for path in Path(runs).iterdir()} == {
        recipe_hash(micro),
        recipe_hash(micro.start),
        "features",
    }
    assert main(arguments) == 0
    assert said(capsys)[0] == first


def test_the_phantom_is_written_once(tmp_path: Path, capsys) -> None:
    arguments = ["data", "phantom", str(tmp_path / "camus"), "--patients", "3", "--rows", "48"]
    main(arguments)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    main(arguments)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == written


def test_wrong_input_is_one_line_and_exit_code_2(tmp_path: Path, squares: Store, capsys) -> None:
    wrong = json.loads(to_json(SegmentRecipe()))
    wrong["start"]["prediction_weight"] = 1.5
    (tmp_path / "wrong.json").write_text(json.dumps(wrong))
    store = str(squares.folder)
    cases = {
        "recipe: expected one of random, vjepa-start": ["run", "vjepaa", "--data", store],
        "profile: expected one of tiny, small, paper": ["run", "vjepa", "--profile", "huge", "--data", store],
        "nowhere: expected a prepared store": ["run", "vjepa", "--data", str(tmp_path / "nowhere")],
        "lambda of Eq. 4": ["run", str(tmp_path / "wrong.json"), "--data", store],
        "none.json: expected a recipe file": ["run", str(tmp_path / "none.json"), "--data", store],
        "missing": ["data", "prepare", str(tmp_path / "missing"), str(tmp_path / "s")],
        "patients: expected 3": ["data", "phantom", str(tmp_path / "p"), "--patients", "2"],
        "device: expected 'auto'": ["run", "vjepa", "--data", store, "--device", "abacus"],
    }
    for message, arguments in cases.items():
        assert main(arguments) == 2, arguments
        out, err = said(capsys)
        assert not out
        assert message in err
        assert err.startswith("usjepa: ")
        assert err.count("\n") == 1


def test_the_batch_larger_than_the_store_is_said(tmp_path: Path, squares: Store, capsys) -> None:
    assert main(["run", "supervised", "--data", str(squares.folder), "--runs", str(tmp_path), "--fraction", "0.5"]) == 2
    assert "batch: expected at most the 3 labelled clips" in said(capsys)[1]


def test_a_run_that_is_not_finite_leaves_a_failure_for_the_tables(
    tmp_path: Path, squares: Store, capsys, micro: SegmentRecipe
) -> None:
    recipe, runs = replace(micro, rate_peak=1e30), tmp_path / "runs"
    (tmp_path / "wild.json").write_text(to_json(recipe))
    command = ["run", str(tmp_path / "wild.json"), "--data", str(squares.folder), "--runs", str(runs)]
    assert main([*command, "--device", "cpu"]) == 2
    assert "not finite" in said(capsys)[1]
    cell = Cell("wild", 0, 1.0, 0, recipe)
    failure = failure_of(cell, runs)
    assert failure is not None
    assert "not finite" in failure.message
    assert failure.step >= 0


def test_ctrl_c_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def stopped(options: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("usjepa.commands.data.write_phantom", stopped)
    assert main(["data", "phantom", "anywhere"]) == 130
    assert "Give the same command again to go on" in said(capsys)[1]


@pytest.mark.parametrize(
    "arguments", [["--help"], ["data", "--help"], ["notebooks", "batch", "--help"], ["run", "--help"]]
)
def test_help_is_there_without_torch(arguments: list[str]) -> None:
    code = (
        f"import sys; sys.argv[1:] = {arguments!r}\nfrom usjepa.cli import main\n"
        "try:\n    main()\nfinally:\n    assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "usage: usjepa" in done.stdout


def test_a_parameter_without_a_value_is_refused(capsys) -> None:
    with pytest.raises(SystemExit):
        main(["notebooks", "batch", "a.ipynb", "--out", "b", "-p", "seed"])
    assert "expected NAME=VALUE, got 'seed'" in said(capsys)[1]
