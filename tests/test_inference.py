import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import sequences
from films import RATE_HZ, moving, write_film
from PIL import Image
from safetensors import safe_open
from weights_files import VJEPA

from usjepa.cli import main
from usjepa.data.clips import whole_clips
from usjepa.data.layout import SYNTHETIC_LICENCE
from usjepa.data.nifti import read_nifti
from usjepa.data.pixels import to_frames, to_labels
from usjepa.data.prepare import prepare
from usjepa.data.sequence import UltrasoundSequence
from usjepa.data.videos import read_videos
from usjepa.errors import InputError
from usjepa.evaluation.native import to_native
from usjepa.inference.apply import encode, load_run, segment, segment_recipe
from usjepa.inference.clips import clip_of, cut_film
from usjepa.inference.write import durations_ms, strip_of, write_masks
from usjepa.model.encoder import Encoder
from usjepa.present.figures import COLOURS, overlay
from usjepa.recipe import PretrainRecipe, Published, SegmentRecipe, VideoMAERecipe
from usjepa.recipe_file import recipe_hash
from usjepa.spec import ClipSpec, DecoderSpec, ModelSpec
from usjepa.structures import STRUCTURES
from usjepa.training.experiment import run
from usjepa.training.features import features_of
from usjepa.training.learners import new_encoder
from usjepa.training.scoring import segment_entries
from usjepa.training.segment import train_segmenter
from usjepa.training.workspace import Workspace
from usjepa.training.world import World
from usjepa.weights.export import export
from usjepa.weights.files import read_weights
from usjepa.weights.load import load_published

CPU = torch.device("cpu")


def film(frames: np.ndarray, **known: object) -> UltrasoundSequence:
    """A film of these frames that nobody has labelled."""
    plain = {"patient": "someone", "view": "4CH", "split": "unlabelled", "source": "someone.avi", "licence": "unknown"}
    return UltrasoundSequence(frames=frames, source_sha256="0" * 64, **{**plain, **known})


@pytest.fixture
def oblong() -> np.ndarray:
    """Eleven frames of 48 x 80, with another grey level everywhere."""
    return moving(11, 80)[:, :48]


@pytest.fixture
def finished(micro: SegmentRecipe, space: Workspace) -> Path:
    """The folder of a finished run, with its encoder's beside it."""
    return run(micro, space).folder


@pytest.fixture
def films(tmp_path: Path, oblong: np.ndarray) -> Path:
    """A folder of two films of different size, and one that can't be read."""
    folder = tmp_path / "films"
    folder.mkdir()
    write_film(folder / "oblong.avi", oblong)
    write_film(folder / "square.avi", moving(6, 32, seed=1))
    whole = (folder / "square.avi").read_bytes()
    (folder / "cut.avi").write_bytes(whole[: len(whole) // 2])
    return folder


@pytest.mark.parametrize("policy", ["paper", "uniform", "dense"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_film_is_cut_to_the_very_clip_that_a_store_would_give(
    oblong: np.ndarray, tmp_path: Path, policy: str, channels: int
) -> None:
    spec = ClipSpec(frames=4, step_frames=2, size_px=32, channels=channels, policy=policy)
    store = prepare([film(oblong)], tmp_path / "store", 32)
    cut = cut_film(film(oblong), spec)
    assert torch.equal(cut.clip, whole_clips(store, store.entries, spec))
    assert cut.indices.tolist() == {"paper": [0, 2, 5, 7], "uniform": [0, 3, 7, 10], "dense": [0, 2, 4, 6]}[policy]


def test_a_film_too_short_for_its_policy_is_named(oblong: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"someone\.avi: clip: expected at least 16 frames for 'dense', got 11"):
        cut_film(film(oblong), ClipSpec(policy="dense"))


def test_features_come_in_their_places_and_are_those_that_a_probe_is_trained_on(
    micro: SegmentRecipe, space: Workspace
) -> None:
    encoder, entries = new_encoder(micro.start), space.store.select("test")
    clip = whole_clips(space.store, entries[:1], micro.clip)
    features = encode(clip, encoder)
    tokens = features_of(encoder, space.store, entries[:1], micro.clip)
    assert features.shape == (1, 2, 4, 4, 24)
    assert torch.equal(features[0, 1, 2, 3], tokens[0, 16 + 2 * 4 + 3])
    assert torch.equal(features.flatten(1, 3), tokens)
    assert not features.requires_grad


def test_a_clip_of_another_size_is_told_what_fits(micro: SegmentRecipe) -> None:
    encoder = new_encoder(micro.start)
    assert clip_of(encoder) == ClipSpec(frames=4, size_px=16, channels=1)
    for shape in ((1, 3, 4, 16, 16), (1, 1, 8, 16, 16), (1, 1, 4, 32, 8)):
        with pytest.raises(InputError, match=r"clip: expected b clips of \(c, T, H, W\) = \(1, 4, 16, 16\), got"):
            encode(torch.zeros(shape), encoder)


@pytest.mark.parametrize("kind", ["teacher", "student", "videomae", "random", "supervised"])
def test_a_run_read_from_its_folder_segments_as_it_did_when_it_was_trained(
    micro: SegmentRecipe, random: SegmentRecipe, space: Workspace, kind: str
) -> None:
    clip, model = micro.start.clip, micro.start.model
    videomae = VideoMAERecipe(
        clip=clip,
        model=replace(model, positions="1d"),
        decoder=DecoderSpec(width=16, depth=1, heads=2),
        batch=3,
        steps=3,
        warmup_steps=0,
    )
    recipe = {
        "teacher": micro,
        "student": replace(micro, judges="student"),
        "videomae": replace(micro, start=videomae),
        "random": random,
        "supervised": replace(random, trains_encoder=True),
    }[kind]
    trained, folder = train_segmenter(recipe, space), space.root / recipe_hash(recipe)
    loaded = load_run(folder, CPU)
    for one, other in zip(loaded, trained, strict=True):
        assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items())
        assert not any(weight.requires_grad for weight in one.parameters())
    entries = space.store.select("test")
    maps = torch.cat([segment(whole_clips(space.store, [entry], recipe.clip), loaded) for entry in entries])
    assert torch.equal(maps, segment_entries(trained, space.store, entries, recipe.clip))
    assert maps.dtype == torch.uint8


def test_a_run_on_published_weights_is_read_with_the_file_that_it_began_with_and_no_other(tmp_path: Path) -> None:
    clip = ClipSpec(frames=8, step_frames=1, size_px=32, policy="uniform")
    model = ModelSpec(width=48, depth=3, heads=3, patch_px=8, predictor_width=24, predictor_depth=2, head_width=16)
    recipe = SegmentRecipe(start=Published(clip=clip, model=model), clip=clip, batch=2, steps=2, decoder_width=8)
    store = prepare(sequences(), tmp_path / "store", 32)
    space = Workspace(store, tmp_path / "runs", CPU, weights=(VJEPA,), shows_progress=False)
    trained, folder = train_segmenter(recipe, space), tmp_path / "runs" / recipe_hash(recipe)
    entry, loaded = store.select("test")[:1], load_run(folder, CPU, VJEPA)
    assert torch.equal(segment(whole_clips(store, entry, clip), loaded), segment_entries(trained, store, entry, clip))
    with pytest.raises(InputError, match=r"published vjepa weights that this run judges, got none\. Name it with"):
        load_run(folder, CPU)
    checkpoint = torch.load(VJEPA, weights_only=True)
    torch.save({**checkpoint, "epoch": 999}, tmp_path / "other.pt")
    with pytest.raises(InputError, match=r"other\.pt: expected the file that [0-9a-f]{12} began with, SHA-256"):
        load_run(folder, CPU, tmp_path / "other.pt")
    (folder / "environment.json").unlink()
    with pytest.raises(InputError, match=r"environment\.json: expected the record of a run, got none"):
        load_run(folder, CPU, VJEPA)


def test_reading_a_run_writes_nothing_and_needs_no_lock(finished: Path, micro: SegmentRecipe, space: Workspace) -> None:
    with run(micro, space).locked(World()):
        before = {path: path.stat().st_mtime_ns for path in space.root.rglob("*")}
        load_run(finished, CPU)
        assert {path: path.stat().st_mtime_ns for path in space.root.rglob("*")} == before


def test_what_is_missing_of_a_run_is_said(finished: Path, micro: SegmentRecipe, space: Workspace) -> None:
    ancestor = space.root / recipe_hash(micro.start)
    with pytest.raises(InputError, match="expected the run of a probe on an encoder, 'segment', got one of 'vjepa'"):
        segment_recipe(ancestor)
    with pytest.raises(InputError, match=r"recipe\.json: expected a recipe file, found none"):
        load_run(space.root, CPU)
    (ancestor / "done.json").unlink()
    with pytest.raises(InputError, match=rf"{ancestor.name}: expected the finished pre-training that {finished.name}"):
        load_run(finished, CPU)
    shutil.rmtree(ancestor)
    with pytest.raises(InputError, match=rf"Put that folder there; or delete .*{finished.name}, and make both anew"):
        load_run(finished, CPU)
    (finished / "done.json").unlink()
    with pytest.raises(InputError, match="expected a finished run, got an unfinished one"):
        load_run(finished, CPU)


def test_the_command_writes_each_films_masks_and_names_the_one_it_leaves_out(
    films: Path, finished: Path, tmp_path: Path, micro: SegmentRecipe, capsys
) -> None:
    out = tmp_path / "masks"
    arguments = ["segment", str(films), "--run", str(finished), "--out", str(out), "--device", "cpu"]
    assert main(arguments) == 1
    said = capsys.readouterr()
    assert "usjepa: left out: cut.avi: expected" in said.err
    assert f"{out / 'oblong_unknown'}: 4 of 11 frames, 0 to 10, of 48 x 80" in said.out
    assert {path.name for path in out.iterdir()} == {"oblong_unknown", "square_unknown"}
    sequence = read_videos(films / "oblong.avi")[0]
    cut, judged = cut_film(sequence, micro.clip), load_run(finished, CPU)
    expected = to_native(segment(cut.clip, judged)[0], (48, 80)).numpy()
    folder = out / "oblong_unknown"
    labels = read_nifti(folder / "labels.nii.gz")
    assert (labels.array == expected).all()
    frames = read_nifti(folder / "frames.nii.gz")
    assert (to_frames("frames", frames.array) == sequence.frames[[0, 3, 7, 10]]).all()
    record = json.loads((folder / "segmentation.json").read_text())
    assert record["frames"] == [0, 3, 7, 10]
    assert record["labels"] == list(STRUCTURES)
    assert (record["recipe"], record["source"]) == (finished.name, "oblong.avi")
    assert record["source_sha256"] == sequence.source_sha256
    (films / "cut.avi").unlink()
    (folder / "strip.png").write_bytes(b"")
    assert main(arguments) == 0
    with Image.open(folder / "strip.png") as strip:
        assert strip.size[0] > 600
    assert {path.name for path in out.iterdir()} == {"oblong_unknown", "square_unknown"}


def test_masks_keep_the_spacing_and_each_frame_once(tmp_path: Path, oblong: np.ndarray) -> None:
    sequence = film(oblong, spacing_mm=(0.25, 0.5), interval_s=0.02)
    labels = np.zeros((4, 48, 80), np.uint8)
    labels[:, 10:20, 30:50] = np.array([1, 2, 3, 3])[:, None, None]
    said = write_masks(tmp_path, sequence, np.array([2, 6, 10, 10]), labels, {})
    assert said == f"{tmp_path / 'someone_4CH'}: 3 of 11 frames, 2 to 10, of 48 x 80"
    written = read_nifti(tmp_path / "someone_4CH" / "labels.nii.gz")
    assert written.spacing_mm == (0.25, 0.5)
    assert (to_labels("labels", written.array) == labels[:3]).all()
    with Image.open(tmp_path / "someone_4CH" / "overlay.gif") as loop:
        assert loop.n_frames == 3
        for frame, shown in enumerate(overlay(oblong[[2, 6, 10]], labels[:3])):
            loop.seek(frame)
            assert loop.info["duration"] == 80
            assert np.abs(np.asarray(loop.convert("RGB")).astype(int) - shown).mean() < 2


def test_a_loop_plays_at_the_films_pace() -> None:
    assert durations_ms(np.array([0, 6, 12, 17]), 1 / 30) == [200, 200, 170, 170]
    assert durations_ms(np.array([0, 1, 2]), 0.004) == [20, 20, 20]
    assert durations_ms(np.array([5]), None) == [40]


def test_a_strip_names_the_structures_and_says_that_a_phantom_is_one(oblong: np.ndarray) -> None:
    labels = np.ones((11, 48, 80), np.uint8)
    for licence, title in ((SYNTHETIC_LICENCE, "someone_4CH, a phantom"), ("unknown", "someone_4CH")):
        figure = strip_of(film(oblong, licence=licence), np.arange(11), labels)
        assert figure.get_suptitle() == title
    assert [axis.get_title() for axis in figure.axes][:8] == [f"frame {k}" for k in (0, 1, 3, 4, 6, 7, 9, 10)]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(STRUCTURES[1:])
    assert np.allclose([patch.get_facecolor()[:3] for patch in legend.get_patches()], COLOURS[1:] / 255)
    shown = [axis.images[0].get_array() for axis in figure.axes]
    assert (shown[1] == oblong[1]).all()
    assert (shown[9] == overlay(oblong[1:2], labels[:1])[0]).all()


def test_a_still_has_a_strip_too(oblong: np.ndarray) -> None:
    figure = strip_of(film(oblong[:1]), np.array([0]), np.ones((1, 48, 80), np.uint8))
    figure.savefig(io.BytesIO(), format="png")
    assert len(figure.axes) == 2


def test_a_folder_that_is_not_of_masks_is_never_replaced(oblong: np.ndarray, tmp_path: Path) -> None:
    mine, labels = tmp_path / "out" / "someone_4CH", np.zeros((1, 48, 80), np.uint8)
    mine.mkdir(parents=True)
    (mine / "precious.txt").write_text("mine")
    for patient in ("someone", "../someone", str(tmp_path / "elsewhere"), "a/b"):
        with pytest.raises(InputError, match="_4CH: expected a new folder, or one of masks, got another"):
            write_masks(tmp_path / "out", film(oblong, patient=patient), np.array([0]), labels, {})
    assert (mine / "precious.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "someone_4CH", "precious.txt"]


def test_where_nothing_can_be_written_is_said(oblong: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    labels = np.zeros((1, 48, 80), np.uint8)
    with pytest.raises(InputError, match=r"file/someone_4CH: expected to write this, got \w+Error: .*Free space"):
        write_masks(tmp_path / "file", film(oblong), np.array([0]), labels, {})


def test_features_of_films_are_written_with_their_frames_and_where_they_came_from(
    films: Path, finished: Path, micro: SegmentRecipe, space: Workspace, tmp_path: Path, capsys
) -> None:
    assert isinstance(micro.start, PretrainRecipe)
    weights = export(space.root / recipe_hash(micro.start), tmp_path / "encoder.safetensors")
    out = tmp_path / "to" / "features.safetensors"
    arguments = ["encode", str(films), "--weights", str(weights), "--out", str(out), "--device", "cpu"]
    assert main(arguments) == 1
    said = capsys.readouterr()
    assert "usjepa: left out: cut.avi: expected" in said.err
    assert "features 2 x 2 x 4 x 4 x 24 (films, t, i, j, width) of 4 frames a film, float32" in said.out
    with safe_open(out, framework="pt") as file:
        features, frames, note = file.get_tensor("features"), file.get_tensor("frames"), file.metadata()["features"]
    assert frames.tolist() == [[0, 1, 2, 3]] * 2
    for row, name in zip(features, ("oblong.avi", "square.avi"), strict=True):
        cut = cut_film(read_videos(films / name)[0], micro.start.clip)
        assert torch.equal(row, encode(cut.clip, load_published(weights))[0])
    note = json.loads(note)
    assert note["weights_sha256"] == read_weights(weights).sha256
    assert note["recipe"] == recipe_hash(micro.start)
    assert [one["source"] for one in note["films"]] == ["oblong.avi", "square.avi"]
    assert note["films"][0]["interval_s"] == pytest.approx(1 / RATE_HZ)
    (films / "cut.avi").unlink()
    assert main([*arguments, "--policy", "uniform"]) == 0
    with safe_open(out, framework="pt") as file:
        assert file.get_tensor("frames").tolist() == [[0, 3, 7, 10], [0, 2, 3, 5]]


def test_others_weights_take_the_papers_frames_of_the_size_that_they_were_made_for(
    oblong: np.ndarray, tmp_path: Path, capsys
) -> None:
    spec = ClipSpec(frames=4, size_px=32)
    encoder = Encoder(ModelSpec(width=384, depth=1, heads=6, patch_px=16, predictor_width=12), spec)
    torch.save({"target_encoder": encoder.state_dict()}, tmp_path / "vjepa.pth.tar")
    write_film(tmp_path / "film.avi", oblong)
    arguments = ["encode", str(tmp_path / "film.avi"), "--weights", str(tmp_path / "vjepa.pth.tar")]
    assert main([*arguments, "--out", str(tmp_path / "features.safetensors"), "--device", "cpu"]) == 0
    assert "features 1 x 2 x 2 x 2 x 384" in capsys.readouterr().out
    with safe_open(tmp_path / "features.safetensors", framework="pt") as file:
        assert file.get_tensor("frames").tolist() == [[0, 10, 10, 10]]
        clip = cut_film(read_videos(tmp_path / "film.avi")[0], spec).clip
        assert torch.equal(file.get_tensor("features"), encode(clip, encoder))
        assert json.loads(file.metadata()["features"])["recipe"] is None


def test_nothing_is_written_if_no_film_can_be_read(films: Path, finished: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "masks"
    arguments = ["segment", str(films / "cut.avi"), "--run", str(finished), "--out", str(out), "--device", "cpu"]
    assert main(arguments) == 2
    assert "usjepa: films: expected one or more that can be read, got none of 1. See above." in capsys.readouterr().err
    assert not out.exists()
