from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import sequences
from torch.utils.data import DataLoader

from usjepa.data.clips import whole_clips, whole_labels
from usjepa.data.dataset import ClipDataset
from usjepa.data.prepare import prepare
from usjepa.data.store import Store
from usjepa.errors import InputError
from usjepa.recipe import SegmentRecipe


def test_a_loader_gives_the_stores_clips_in_batches(squares: Store, micro: SegmentRecipe) -> None:
    entries = squares.select("train")
    dataset = ClipDataset(squares, entries, micro.clip)
    batches = list(DataLoader(dataset, batch_size=4))
    assert len(dataset) == len(entries) == 6
    assert [len(batch.name) for batch in batches] == [4, 2]
    assert torch.equal(torch.cat([batch.clip for batch in batches]), whole_clips(squares, entries, micro.clip))
    assert torch.equal(torch.cat([batch.labels for batch in batches]), whole_labels(squares, entries, micro.clip))
    assert [name for batch in batches for name in batch.name] == [entry.name for entry in entries]
    assert batches[0].clip.dtype == torch.float32
    assert batches[0].labels.dtype == torch.uint8


def test_a_shuffled_loader_sees_every_clip_once(squares: Store, micro: SegmentRecipe, generator) -> None:
    dataset = ClipDataset(squares, squares.entries, micro.clip)
    names = [
        name for batch in DataLoader(dataset, batch_size=3, shuffle=True, generator=generator) for name in batch[2]
    ]
    assert names != [entry.name for entry in squares.entries]
    assert sorted(names) == sorted(entry.name for entry in squares.entries)


def test_without_labels_they_are_0(tmp_path: Path, micro: SegmentRecipe) -> None:
    bare = prepare([replace(one, labels=None, annotated=()) for one in sequences()], tmp_path / "bare", 16)
    example = ClipDataset(bare, bare.entries, micro.clip)[-1]
    assert example.name == "patient0009_4CH"
    assert example.labels.shape == example.clip.shape[1:] == (4, 16, 16)
    assert not example.labels.any()


def test_a_store_of_another_size_is_refused_at_once(squares: Store, micro: SegmentRecipe) -> None:
    with pytest.raises(InputError, match="expected a store of 32 px, got 16"):
        ClipDataset(squares, squares.entries, replace(micro.clip, size_px=32))
