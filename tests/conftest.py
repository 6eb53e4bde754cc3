from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from usjepa.data.prepare import prepare
from usjepa.data.sequence import UltrasoundSequence
from usjepa.data.store import Store
from usjepa.recipe import PretrainRecipe, SegmentRecipe, Untrained
from usjepa.spec import LONG_RANGE, SHORT_RANGE, ClipSpec, ModelSpec
from usjepa.training.workspace import Workspace

torch.set_num_threads(1)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def micro() -> SegmentRecipe:
    """A recipe whose whole run takes a second: 4 frames of 16 x 16, 2 x 4 x 4 tokens."""
    clip = ClipSpec(frames=4, step_frames=1, size_px=16, channels=1, policy="dense")
    model = ModelSpec(
        width=24, depth=3, heads=2, patch_px=4, predictor_width=16, predictor_depth=1, head_width=16, init_std=None
    )
    start = PretrainRecipe(
        clip=clip,
        model=model,
        prediction_weight=0.25,
        masks=(SHORT_RANGE, replace(LONG_RANGE, spatial_scale=0.5)),
        pairs=20,
        batch=3,
        steps=12,
        warmup_steps=2,
        rate_peak=1e-3,
        log_every=2,
        save_every=4,
    )
    return SegmentRecipe(
        start=start, clip=replace(clip, policy="uniform"), decoder_width=8, batch=3, steps=10, log_every=2, save_every=4
    )


@pytest.fixture(scope="session")
def random(micro: SegmentRecipe) -> SegmentRecipe:
    """The same with the encoder at its random start."""
    return replace(micro, start=Untrained(clip=micro.start.clip, model=micro.start.model))


@pytest.fixture
def space(squares: Store, root: Path) -> Workspace:
    """A workspace of the squares, on the CPU, without progress bars."""
    return Workspace(squares, root, torch.device("cpu"), shows_progress=False)


def sequences() -> Iterator[UltrasoundSequence]:
    """Ten patients with one bright square each that moves to the right; the square is LV endo."""
    for patient in range(10):
        rng = np.random.default_rng(patient)
        frames = rng.integers(0, 60, (6, 16, 16)).astype(np.uint8)
        labels = np.zeros_like(frames)
        top, left = rng.integers(1, 8, 2)
        for t in range(6):
            labels[t, top : top + 6, left + t // 2 : left + t // 2 + 6] = 1
        frames[labels == 1] += 150
        yield UltrasoundSequence(
            frames=frames,
            labels=labels,
            annotated=(0, 5),
            patient=f"patient{patient:04d}",
            view="4CH",
            split="train" if patient < 6 else "validation" if patient < 8 else "test",
            source=f"square{patient}",
            source_sha256=f"{patient:064d}",
            licence="made for a test",
            spacing_mm=(0.5, 0.5),
        )


@pytest.fixture(scope="session")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A prepared store of `sequences`."""
    return prepare(sequences(), tmp_path_factory.mktemp("squares") / "store", 16)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty folder for runs."""
    return tmp_path / "runs"
