import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from usjepa.data.prepare import open_store, prepare, sequence_key, to_square
from usjepa.data.sequence import UltrasoundSequence
from usjepa.errors import InputError


def sequence(*, patient="patient0001", view="4CH", split="train", length=3, size=(30, 40), seed=0):
    rng = np.random.default_rng(seed)
    return UltrasoundSequence(
        frames=rng.integers(0, 256, (length, *size), dtype=np.uint8),
        labels=rng.integers(0, 4, (length, *size), dtype=np.uint8),
        patient=patient,
        view=view,
        split=split,
        source=f"{patient}_{view}.nii.gz",
        source_sha256=f"{seed:064d}",
        licence="none",
        spacing_mm=(0.3, 0.3),
        interval_s=0.02,
        annotated=(0, length - 1),
        quality="Good",
    )


@pytest.fixture
def three():
    return [
        sequence(view="2CH", length=2, seed=1),
        sequence(length=4, size=(50, 20), seed=2),
        sequence(patient="patient0002", split="test", length=3, size=(40, 40), seed=3),
    ]


def test_a_store_holds_every_frame_in_order(three, tmp_path):
    store = prepare(three, tmp_path / "store", 40)
    assert store.frames.shape == store.labels.shape == (9, 40, 40)
    assert [(entry.name, entry.first, entry.length) for entry in store.entries] == [
        ("patient0001_2CH", 0, 2),
        ("patient0001_4CH", 2, 4),
        ("patient0002_4CH", 6, 3),
    ]
    # The last is square and of the store's size: nothing may change.
    assert np.array_equal(store.frames[6:], three[2].frames)
    assert np.array_equal(store.labels[6:], three[2].labels)


def test_frames_are_padded_to_a_centred_square_and_spacing_follows(three, tmp_path):
    store = prepare(three, tmp_path / "store", 40)
    frame = store.frames[0]
    assert not frame[:5].any()
    assert not frame[35:].any()
    assert np.array_equal(frame[5:35], three[0].frames[0])
    assert store.entries[0].original_size == (30, 40)
    assert store.entries[0].spacing_mm == pytest.approx((0.3, 0.3))
    assert store.entries[1].spacing_mm == pytest.approx((0.3 * 50 / 40,) * 2)


def test_labels_stay_labels_when_resized(tmp_path):
    plain = sequence(size=(31, 47))
    atrium = dataclasses.replace(plain, labels=np.where(plain.labels > 1, 3, 0).astype(np.uint8))
    store = prepare([atrium], tmp_path / "store", 16)
    assert set(np.unique(store.labels)) == {0, 3}


def test_frames_are_averaged_not_picked_when_made_small():
    stripes = np.tile(np.array([0, 200], np.uint8), (64, 32))
    small = to_square(stripes, 16, Image.Resampling.BILINEAR)
    assert small[4:-4, 4:-4].min() > 80
    assert small[4:-4, 4:-4].max() < 120


def test_the_store_is_read_only_and_memory_mapped(three, tmp_path):
    store = prepare(three, tmp_path / "store", 40)
    assert isinstance(store.frames, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        store.frames[0, 0, 0] = 1


def test_select_gives_one_split_and_names_the_others_when_empty(three, tmp_path):
    store = prepare(three, tmp_path / "store", 40)
    assert [entry.patient for entry in store.select("test")] == ["patient0002"]
    with pytest.raises(InputError, match="'validation', found only test, train"):
        store.select("validation")


def test_the_fingerprint_depends_on_sources_splits_and_size_but_not_on_the_folder(three, tmp_path):
    first = prepare(three, tmp_path / "a", 40).fingerprint
    assert prepare(three, tmp_path / "b" / "c", 40).fingerprint == first
    assert prepare(three, tmp_path / "d", 48).fingerprint != first
    moved = [*three[:2], dataclasses.replace(three[2], split="validation")]
    assert prepare(moved, tmp_path / "e", 40).fingerprint != first
    changed = [*three[:2], dataclasses.replace(three[2], source_sha256="f" * 64)]
    assert prepare(changed, tmp_path / "f", 40).fingerprint != first


class Unreadable(list):
    """Sequences that know their keys and fail when decoded."""

    def keys(self):
        return tuple(
            sequence_key(name=s.name, split=s.split, source_sha256=s.source_sha256) for s in list.__iter__(self)
        )

    def __iter__(self):
        raise AssertionError("decoded although the store is finished")


def test_a_finished_store_is_found_again_without_decoding(three, tmp_path):
    first = prepare(three, tmp_path / "store", 40)
    assert prepare(Unreadable(three), tmp_path / "store", 40).fingerprint == first.fingerprint
    with pytest.raises(AssertionError, match="decoded"):
        prepare(Unreadable(three), tmp_path / "other", 48)


@pytest.mark.parametrize("kind", [list, Unreadable])
def test_another_store_is_never_replaced(three, tmp_path, kind):
    first = prepare(three, tmp_path / "store", 40)
    for sequences, size in ((three[:2], 40), (three, 48)):
        with pytest.raises(InputError, match="store: expected a store of these sequences and this size"):
            prepare(kind(sequences), tmp_path / "store", size)
    assert open_store(tmp_path / "store").fingerprint == first.fingerprint
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_patient_in_two_splits_is_refused_and_nothing_is_left(three, tmp_path):
    leak = [*three, sequence(patient="patient0002", view="2CH", split="train")]
    with pytest.raises(InputError, match="patient0002: expected one split a patient, got test and train"):
        prepare(leak, tmp_path / "store", 40)
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_comes_twice_and_no_sequence_at_all_are_refused(three, tmp_path):
    with pytest.raises(InputError, match="patient0001_2CH twice"):
        prepare([*three, three[0]], tmp_path / "store", 40)
    with pytest.raises(InputError, match="at least one"):
        prepare([], tmp_path / "store", 40)
    with pytest.raises(InputError, match="size_px"):
        prepare(three, tmp_path / "store", 4)


def interrupted(sequences):
    yield sequences[0]
    raise KeyboardInterrupt


def test_a_half_written_store_is_never_found(three, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        prepare(interrupted(three), tmp_path / "store", 40)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="usjepa data prepare"):
        open_store(tmp_path / "store")


def test_an_interrupted_renewal_leaves_the_old_store(three, tmp_path):
    before = prepare(three, tmp_path / "store", 40)
    with pytest.raises(KeyboardInterrupt):
        prepare(interrupted(three), tmp_path / "store", 40)
    assert open_store(tmp_path / "store").fingerprint == before.fingerprint
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_foreign_folder_is_neither_opened_nor_overwritten(three, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    for attempt in (lambda: open_store(folder), lambda: prepare(three, folder, 40)):
        with pytest.raises(InputError, match=r"no index\.json"):
            attempt()
    assert (folder / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("name", ["frames.npy", "labels.npy"])
def test_a_damaged_array_is_refused_with_its_name(three, tmp_path, name):
    store = prepare(three, tmp_path / "store", 40)
    path = store.folder / name
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=name):
        open_store(store.folder)
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=name):
        open_store(store.folder)


def test_an_index_of_another_form_is_refused(three, tmp_path):
    store = prepare(three, tmp_path / "store", 40)
    path = store.folder / "index.json"
    index = json.loads(path.read_text())
    path.write_text(json.dumps({**index, "format": "other 9"}))
    with pytest.raises(InputError, match="'other 9'"):
        open_store(store.folder)
    path.write_text("{")
    with pytest.raises(InputError, match=r"index\.json"):
        open_store(store.folder)


def test_unlabelled_sequences_have_empty_labels(tmp_path):
    plain = dataclasses.replace(sequence(), labels=None, annotated=(), split="unlabelled")
    store = prepare([plain], tmp_path / "store", 40)
    assert not store.entries[0].is_labelled
    assert not store.labels.any()
