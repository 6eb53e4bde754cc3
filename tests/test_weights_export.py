import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import sequences
from safetensors import safe_open
from weights_files import VJEPA

from usjepa.cli import main
from usjepa.data.prepare import prepare
from usjepa.data.store import Store
from usjepa.errors import InputError
from usjepa.model.jepa import JEPA
from usjepa.recipe import PretrainRecipe, Published, SegmentRecipe, VideoMAERecipe
from usjepa.recipe_file import recipe_hash, to_json
from usjepa.spec import ClipSpec, DecoderSpec, ModelSpec
from usjepa.training.pretrain import pretrain
from usjepa.training.workspace import Workspace
from usjepa.weights.export import export
from usjepa.weights.files import read_weights
from usjepa.weights.licence import licence_of_run
from usjepa.weights.load import load_published


@pytest.fixture
def workspace(squares: Store, root: Path) -> Workspace:
    return Workspace(squares, root, torch.device("cpu"))


@pytest.fixture
def vjepa(micro: SegmentRecipe) -> PretrainRecipe:
    assert isinstance(micro.start, PretrainRecipe)
    return replace(micro.start, steps=3, warmup_steps=0)


@pytest.fixture
def videomae(vjepa: PretrainRecipe) -> VideoMAERecipe:
    return VideoMAERecipe(
        clip=vjepa.clip,
        model=replace(vjepa.model, positions="1d"),
        mask_ratio=0.75,
        decoder=DecoderSpec(width=16, depth=1, heads=2),
        batch=3,
        steps=3,
        warmup_steps=0,
    )


def noise(recipe: PretrainRecipe | VideoMAERecipe) -> torch.Tensor:
    clip = recipe.clip
    shape = (2, clip.channels, clip.frames, clip.size_px, clip.size_px)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def card_of(path: Path) -> str:
    with safe_open(path, framework="pt") as file:
        return str(json.loads(file.metadata()["usjepa"])["card"])


def test_an_exported_teacher_comes_back_with_bit_equal_features(vjepa, workspace: Workspace, tmp_path: Path) -> None:
    learner = pretrain(vjepa, workspace)
    assert isinstance(learner, JEPA)
    path = export(workspace.root / recipe_hash(vjepa), tmp_path / "mine" / "encoder.safetensors")
    weights = read_weights(path)
    assert (weights.family, weights.part(), weights.recipe) == ("vjepa", "teacher", vjepa)
    loaded = load_published(path)
    assert torch.equal(loaded(noise(vjepa)), learner.teacher(noise(vjepa)))
    assert not torch.equal(loaded(noise(vjepa)), learner.encoder(noise(vjepa)))
    assert len(loaded.blocks) == vjepa.model.depth
    assert loaded.blocks[0].attn.num_heads == vjepa.model.heads


def test_an_exported_videomae_comes_back_with_bit_equal_features(
    videomae, workspace: Workspace, tmp_path: Path
) -> None:
    learner = pretrain(videomae, workspace)
    path = export(workspace.root / recipe_hash(videomae), tmp_path / "encoder.safetensors")
    weights = read_weights(path)
    assert (weights.family, weights.part(), weights.recipe) == ("videomae", "encoder", videomae)
    assert torch.equal(load_published(path)(noise(videomae)), learner.encoder.eval()(noise(videomae)))


def test_names_are_timms_and_the_table_of_positions_is_there(vjepa, workspace: Workspace, tmp_path: Path) -> None:
    from timm.models.vision_transformer import Block

    pretrain(vjepa, workspace)
    with safe_open(export(workspace.root / recipe_hash(vjepa), tmp_path / "out"), framework="pt") as file:
        names = set(file.keys())
    assert {name.removeprefix("blocks.0.") for name in names if name.startswith("blocks.0.")} == (
        Block(24, 2, qkv_bias=True).state_dict().keys()
    )
    assert {name for name in names if not name.startswith("blocks.")} == {
        "pos_embed",
        "patch_embed.proj.weight",
        "patch_embed.proj.bias",
        "norm.weight",
        "norm.bias",
    }


def test_another_clip_size_than_the_runs_is_served_by_resized_positions(
    vjepa, workspace: Workspace, tmp_path: Path
) -> None:
    pretrain(vjepa, workspace)
    path = export(workspace.root / recipe_hash(vjepa), tmp_path / "encoder.safetensors")
    encoder = load_published(path, clip=replace(vjepa.clip, frames=8, size_px=24))
    assert encoder.grid == (4, 6, 6)
    assert encoder(torch.zeros(1, 1, 8, 24, 24)).shape == (1, 4 * 6 * 6, 24)


def test_two_exports_have_equal_bytes_in_any_process(vjepa, workspace: Workspace, tmp_path: Path) -> None:
    """Headers of safetensors keep no order of their notes, which is drawn anew in each process."""
    pretrain(vjepa, workspace)
    folder = workspace.root / recipe_hash(vjepa)
    (tmp_path / "other").mkdir()
    own, other = export(folder, tmp_path / "x.safetensors"), tmp_path / "other" / "x.safetensors"
    command = [sys.executable, "-m", "usjepa", "weights", "export", str(folder), "--out", str(other)]
    subprocess.run(command, check=True, capture_output=True)
    assert own.read_bytes() == other.read_bytes()


def test_the_card_says_what_it_is_of_which_data_and_not_for_diagnosis(
    vjepa, workspace: Workspace, tmp_path: Path
) -> None:
    pretrain(vjepa, workspace)
    card = card_of(export(workspace.root / recipe_hash(vjepa), tmp_path / "encoder.safetensors"))
    assert card.startswith("# Ultrasound video encoder, V-JEPA with the localisation loss\n")
    assert "the teacher after 3 of 3 steps" in card
    assert "width 24, depth 3, 2 heads, tubelets of 2 x 4 x 4, clips of 4 frames of 16 x 16, channels: 1" in card
    assert f"fingerprint `{workspace.store.fingerprint}`" in card
    assert "teaching and research" in card
    assert "Not for diagnosis" in card
    assert "**Licence**: Apache-2.0" in card
    assert "{" not in card


def test_a_run_begun_from_published_weights_inherits_their_licence(tmp_path: Path) -> None:
    clip = ClipSpec(frames=8, step_frames=1, size_px=32, policy="uniform")
    model = ModelSpec(width=48, depth=3, heads=3, patch_px=8, predictor_width=24, predictor_depth=2, head_width=16)
    recipe = PretrainRecipe(
        start=Published(clip=clip, model=model),
        clip=clip,
        model=model,
        prediction_weight=1.0,
        batch=2,
        steps=1,
        warmup_steps=0,
    )
    store = prepare(sequences(), tmp_path / "store", 32)
    workspace = Workspace(store, tmp_path / "runs", torch.device("cpu"), (VJEPA,))
    pretrain(recipe, workspace)
    card = card_of(export(workspace.root / recipe_hash(recipe), tmp_path / "encoder.safetensors"))
    assert card.startswith("# Ultrasound video encoder, V-JEPA\n")
    assert f"begun from published weights `{read_weights(VJEPA).sha256}`" in card
    assert "**Licence**: CC BY-NC 4.0, not for commercial use: derived from weights of the authors of V-JEPA" in card
    assert "Apache" not in card


def test_the_licence_is_that_of_the_first_start_however_far_back(vjepa: PretrainRecipe) -> None:
    published = Published(clip=vjepa.clip, model=vjepa.model)
    first = replace(vjepa, start=published)
    assert licence_of_run(replace(first, start=first)).startswith("CC BY-NC 4.0")
    assert licence_of_run(replace(vjepa, start=vjepa)).startswith("Apache-2.0")


def test_what_is_no_pretraining_run_is_refused(
    micro: SegmentRecipe, vjepa: PretrainRecipe, workspace: Workspace, tmp_path: Path, capsys
) -> None:
    out = tmp_path / "encoder.safetensors"
    assert main(["weights", "export", str(tmp_path), "--out", str(out)]) == 2
    assert "recipe.json: expected a recipe file, found none" in capsys.readouterr().err
    (tmp_path / "recipe.json").write_text(to_json(micro))
    with pytest.raises(InputError, match="expected the run of a pre-training, got one of 'segment'"):
        export(tmp_path, out)
    (tmp_path / "recipe.json").write_text(to_json(vjepa))
    with pytest.raises(InputError, match=r"last\.pt: expected a file of weights, found none"):
        export(tmp_path, out)
    torch.save({"encoder": {}}, tmp_path / "last.pt")
    with pytest.raises(InputError, match=r"last\.pt: expected a run's checkpoint, got another file"):
        export(tmp_path, out)
    torch.save({"step": 3, "model": JEPA(vjepa).state_dict()}, tmp_path / "last.pt")
    with pytest.raises(InputError, match=r"environment\.json: expected the record of a run"):
        export(tmp_path, out)
    deeper = replace(vjepa, model=replace(vjepa.model, depth=5))
    torch.save({"step": 3, "model": JEPA(deeper).state_dict()}, tmp_path / "last.pt")
    with pytest.raises(InputError, match=r"last\.pt: teacher: expected weights for .*left over: blocks\.3-4"):
        export(tmp_path, out)
    assert not out.exists()


def test_a_checkpoint_with_one_changed_byte_is_refused(vjepa: PretrainRecipe, tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text(to_json(vjepa))
    (tmp_path / "environment.json").write_text('{"data": "a", "weights": ""}')
    torch.save({"step": 3, "model": JEPA(vjepa).state_dict()}, tmp_path / "last.pt")
    export(tmp_path, tmp_path / "out")
    content = bytearray((tmp_path / "last.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "last.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"last\.pt: expected a run's checkpoint, got damage in"):
        export(tmp_path, tmp_path / "out")


def test_describe_needs_no_heads_for_our_own_files(vjepa, workspace: Workspace, tmp_path: Path, capsys) -> None:
    pretrain(vjepa, workspace)
    path = export(workspace.root / recipe_hash(vjepa), tmp_path / "encoder.safetensors")
    assert main(["weights", "describe", str(path)]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["form"] == "safetensors of a V-JEPA run"
    assert lines["sizes"] == "width 24, depth 3, tubelets of 2 x 4 x 4 of 1 channel"
    assert lines["smoke"].startswith("mean ")
