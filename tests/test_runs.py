from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from usjepa.errors import InputError
from usjepa.recipe import PretrainRecipe
from usjepa.recipe_file import read_recipe, recipe_hash
from usjepa.training.runs import Run, open_run

CPU = torch.device("cpu")


def opened(root: Path, recipe: PretrainRecipe | None = None, fingerprint: str = "abc") -> Run:
    return open_run(recipe or PretrainRecipe(), root, fingerprint=fingerprint, device=CPU)


def test_the_folder_is_named_by_the_recipes_hash_and_holds_it(root: Path) -> None:
    run = opened(root)
    assert run.folder == root / recipe_hash(PretrainRecipe())
    assert read_recipe(run.folder / "recipe.json") == PretrainRecipe()
    assert {"data", "torch", "python", "commit", "device"} <= set(
        pd.read_json(run.folder / "environment.json", typ="series").index
    )


def test_opening_twice_is_one_run_and_another_recipe_another(root: Path) -> None:
    assert opened(root).folder == opened(root).folder
    assert opened(root).folder != opened(root, replace(PretrainRecipe(), seed=1)).folder


def test_other_data_are_refused(root: Path) -> None:
    opened(root)
    with pytest.raises(InputError, match=r"began with \(abc\), got xyz"):
        opened(root, fingerprint="xyz")


def test_a_changed_recipe_file_is_refused(root: Path) -> None:
    (opened(root).folder / "recipe.json").write_text("{}")
    with pytest.raises(InputError, match="recipe.json: expected this run's own recipe"):
        opened(root)


def test_the_log_has_named_columns(root: Path) -> None:
    run = opened(root)
    run.append({"step": 0, "loss": 1.5})
    run.append({"step": 1, "loss": 0.5})
    assert run.log().to_dict("list") == {"step": [0, 1], "loss": [1.5, 0.5]}


def test_resume_gives_the_last_checkpoint_and_cuts_the_log_to_it(root: Path) -> None:
    run = opened(root)
    assert run.resume() is None
    for step in range(4):
        run.append({"step": step})
    run.save({"step": 2, "weights": torch.arange(3)})
    state = run.resume()
    assert state is not None
    assert torch.equal(state["weights"], torch.arange(3))
    assert run.log()["step"].tolist() == [0, 1]


def test_a_run_without_a_checkpoint_begins_its_log_anew(root: Path) -> None:
    run = opened(root)
    run.append({"step": 0})
    run.resume()
    assert run.log().empty


@pytest.mark.parametrize("content", [b"", b"<html>", b"PK\x03\x04 cut"])
def test_a_broken_checkpoint_is_named(root: Path, content: bytes) -> None:
    run = opened(root)
    (run.folder / "last.pt").write_bytes(content)
    with pytest.raises(InputError, match="last.pt: expected a checkpoint"):
        run.resume()


def test_code_in_a_checkpoint_is_never_run(root: Path) -> None:
    run = opened(root)
    torch.save({"step": 0, "harm": Path}, run.folder / "last.pt")
    with pytest.raises(InputError, match="last.pt: expected a checkpoint"):
        run.resume()


def test_a_failed_save_leaves_the_old_checkpoint_and_nothing_else(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = opened(root)
    run.save({"step": 1})
    before = sorted(path.name for path in run.folder.iterdir())

    def half_written(state: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", half_written)
    with pytest.raises(OSError, match="disk full"):
        run.save({"step": 2})
    assert sorted(path.name for path in run.folder.iterdir()) == before
    state = run.resume()
    assert state is not None
    assert state["step"] == 1


def test_a_finished_run_has_its_table(root: Path) -> None:
    run = opened(root)
    with pytest.raises(InputError, match="found none. Run it to its end"):
        run.table()
    run.finish(pd.DataFrame({"video": ["a"], "both": [3]}))
    assert run.done
    assert run.table()["both"].tolist() == [3]
