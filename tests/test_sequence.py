import numpy as np
import pytest

from usjepa.data.sequence import UltrasoundSequence
from usjepa.errors import InputError

GOOD = UltrasoundSequence(
    frames=np.zeros((4, 6, 5), np.uint8),
    labels=np.ones((4, 6, 5), np.uint8),
    patient="patient0001",
    view="4CH",
    split="train",
    source="a.nii.gz",
    source_sha256="0" * 64,
    licence="none",
    spacing_mm=(0.3, 0.3),
    interval_s=0.02,
    annotated=(0, 3),
)


def changed(change):
    """A copy that validates itself, made past the tests' type checker, which would refuse wrong arrays first."""
    copy = object.__new__(UltrasoundSequence)
    copy.__dict__.update({**vars(GOOD), **change})
    copy.__post_init__()
    return copy


def test_a_good_sequence_passes_the_same_way():
    assert changed({"labels": None, "annotated": ()}).labels is None


def test_a_sequence_is_named_after_patient_and_view():
    assert GOOD.name == "patient0001_4CH"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"frames": np.zeros((4, 6, 5), np.int16)}, "frames: uint8"),
        ({"frames": np.zeros((6, 5), np.uint8)}, "frames: uint8"),
        ({"frames": np.zeros((0, 6, 5), np.uint8)}, "frames: uint8"),
        ({"labels": np.ones((4, 5, 6), np.uint8)}, "labels: uint8"),
        ({"labels": np.full((4, 6, 5), 4, np.uint8)}, "labels: 0 to 3, got 4"),
        ({"labels": None}, "no frame without labels"),
        ({"annotated": (0, 4)}, "between 0 and 3"),
        ({"annotated": (1, 1)}, "different frames"),
        ({"split": "training"}, "one of train, validation, test, unlabelled, got 'training'"),
        ({"source": "/home/me/a.nii"}, "without folders"),
        ({"patient": ""}, "patient: some text"),
        ({"spacing_mm": (0.3, 0.0)}, "spacing_mm"),
        ({"spacing_mm": (float("nan"), 0.3)}, "spacing_mm"),
        ({"interval_s": 0.0}, "interval_s"),
    ],
)
def test_what_a_sequence_cannot_be_is_refused_with_the_source_first(change, words):
    with pytest.raises(InputError, match=r"expected .*\. ") as caught:
        changed(change)
    assert words in str(caught.value)
    assert str(caught.value).startswith(change.get("source", "a.nii.gz"))
