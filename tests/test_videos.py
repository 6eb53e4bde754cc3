import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from films import RATE_HZ, moving, write_film
from PIL import Image
from pydicom import examples

from usjepa.data.dicom import example_loop
from usjepa.data.prepare import prepare
from usjepa.data.videos import read_patients, read_videos
from usjepa.errors import InputError

FRAMES = moving(12, 48)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One video of every kind."""
    made = tmp_path / "mine"
    (made / "png loop").mkdir(parents=True)
    write_film(made / "a.avi", FRAMES, "ffv1", "gray")
    write_film(made / "b.mp4", FRAMES, "libx264", "yuv420p")
    shutil.copy(examples.get_path("ybr_color"), made / "IM_0001")
    for name in ("c.nii.gz", "d.mha"):
        image = SimpleITK.GetImageFromArray(FRAMES, isVector=False)
        image.SetSpacing((0.3, 0.4, 1.0))
        SimpleITK.WriteImage(image, str(made / name))
    for number, frame in enumerate(FRAMES):
        Image.fromarray(frame).save(made / "png loop" / f"{number}.png")
    for junk in (".DS_Store", "._a.avi", "Thumbs.db", "png loop/Thumbs.db"):
        (made / junk).write_bytes(b"x")
    return made


def patients(folder: Path, *rows: str) -> None:
    (folder / "patients.csv").write_text("\n".join(("file,patient,split", *rows)) + "\n", encoding="utf-8-sig")


def test_every_kind_is_found_and_read(folder: Path) -> None:
    read = {sequence.patient: sequence for sequence in read_videos(folder)}
    assert set(read) == {"IM_0001", "a", "b", "c", "d", "png loop"}
    for name in ("a", "c", "d", "png loop"):
        assert np.array_equal(read[name].frames, FRAMES), name
    assert np.array_equal(read["IM_0001"].frames, example_loop().frames)
    assert np.abs(read["b"].frames - FRAMES.astype(int)).max() < 5
    spacings = {name: read[name].spacing_mm for name in read if name != "IM_0001"}
    assert spacings == {"a": None, "b": None, "png loop": None} | dict.fromkeys("cd", pytest.approx((0.4, 0.3)))
    intervals = [read[name].interval_s for name in ("a", "b", "c", "d", "png loop")]
    assert intervals == [pytest.approx(1 / RATE_HZ)] * 2 + [None] * 3
    assert {(one.view, one.split, one.labels, one.annotated) for one in read.values()} == {
        ("unknown", "unlabelled", None, ())
    }


def test_a_spacing_of_1_mm_is_a_programs_default(tmp_path: Path) -> None:
    for name in ("c.nii.gz", "d.mha"):
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(FRAMES, isVector=False), str(tmp_path / name))
    assert [sequence.spacing_mm for sequence in read_videos(tmp_path)] == [None, None]


def test_keys_are_those_of_the_sequences_and_a_finished_store_is_kept(folder: Path, tmp_path: Path) -> None:
    videos = read_videos(folder)
    store = prepare(videos, tmp_path / "store", 16)
    assert len(store.entries) == len(videos) == 6
    before = (tmp_path / "store" / "frames.npy").stat().st_mtime_ns
    assert prepare(read_videos(folder), tmp_path / "store", 16).fingerprint == store.fingerprint
    assert (tmp_path / "store" / "frames.npy").stat().st_mtime_ns == before
    Image.fromarray(FRAMES[0]).save(folder / "png loop" / "3.png")
    assert prepare(read_videos(folder), tmp_path / "other", 16).fingerprint != store.fingerprint


def test_a_list_groups_files_of_one_patient(folder: Path, tmp_path: Path) -> None:
    patients(folder, "a.avi,p1,train", "b.mp4,p1,train", "IM_0001,p2,test", "c.nii.gz,p3,train", "d.mha,p3,train")
    with pytest.raises(InputError, match=r"png loop: expected in patients\.csv, found no row"):
        read_videos(folder)
    with open(folder / "patients.csv", "a") as file:
        file.write("png loop,p4,unlabelled\n")
    store = prepare(read_videos(folder), tmp_path / "store", 16)
    assert {(entry.name, entry.split) for entry in store.entries} == {
        ("p1_a", "train"),
        ("p1_b", "train"),
        ("p2_IM_0001", "test"),
        ("p3_c", "train"),
        ("p3_d", "train"),
        ("p4_png loop", "unlabelled"),
    }


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.filterwarnings("ignore:.*left out")
def test_a_patient_in_two_splits_is_always_refused(folder: Path, strict: bool) -> None:
    rows = [f"{path.name},{path.name},train" for path in folder.iterdir() if path.name[0] not in ".abT"]
    patients(folder, "a.avi,p1,train", "b.mp4,p1,test", *rows)
    with pytest.raises(InputError, match="p1: expected one split a patient, got train and test"):
        read_videos(folder, strict=strict)


def test_all_problems_come_in_one_message_or_are_counted(folder: Path) -> None:
    (folder / "notes.txt").write_text("about a.avi")
    (folder / "png loop" / "notes.txt").write_text("about frame 3")
    shutil.copy(folder / "a.avi", folder / "c.avi")
    with pytest.raises(InputError, match=r"3 problem\(s\) among 8 video\(s\)") as caught:
        read_videos(folder)
    message = str(caught.value)
    assert "notes.txt: expected DICOM, AVI" in message
    assert "png loop: expected DICOM, AVI" in message
    assert "c.nii.gz: expected a name of its own, got c_unknown again" in message
    with pytest.warns(UserWarning, match="3 of 8 videos are left out"):
        assert len(read_videos(folder, strict=False)) == 5


def test_an_unreadable_file_stops_or_is_counted_and_never_replaced(folder: Path) -> None:
    stored = (folder / "a.avi").read_bytes()
    (folder / "a.avi").write_bytes(stored[: len(stored) // 2])
    with pytest.raises(InputError, match=r"a\.avi: expected a whole video"):
        list(read_videos(folder))
    with pytest.warns(UserWarning, match=r"1 of 6 videos are left out, first: a\.avi"):
        assert [one.patient for one in read_videos(folder, strict=False)] == ["IM_0001", "b", "c", "d", "png loop"]


def test_one_file_is_a_collection_of_one(folder: Path) -> None:
    (only,) = read_videos(folder / "IM_0001")
    assert only.name == "IM_0001_unknown"
    (folder / "notes.txt").write_text("no video")
    with pytest.raises(InputError, match=r"notes\.txt: expected DICOM"):
        read_videos(folder / "notes.txt")


def test_nothing_of_a_header_is_kept(tmp_path: Path) -> None:
    shutil.copy(examples.get_path("ybr_color"), tmp_path / "x.dcm")
    prepare(read_videos(tmp_path), tmp_path / "store", 16)
    index = (tmp_path / "store" / "index.json").read_text()
    assert "x_unknown" in index
    assert not any(word in index for word in ("PLA", "SonoSite", "2016", "1.2."))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected the header file,patient,split, got ''"),
        ("file;patient;split\n", "got 'file;patient;split'"),
        ("file,patient,split\na.avi,p1\n", "row 2: expected file, patient and one of train"),
        ("file,patient,split\na.avi,p1,dev\n", "row 2: expected file, patient and one of train"),
        ("file,patient,split\na.avi,,train\n", "row 2: expected file"),
        (
            "file,patient,split\na.avi,p1,train\n\na.avi,p2,train\n",
            r"row 4: expected each file once, got 'a\.avi' again",
        ),
    ],
)
def test_a_wrong_list_is_refused_with_its_row(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "patients.csv").write_text(text)
    with pytest.raises(InputError, match=rf"patients\.csv.*{words}"):
        read_patients(tmp_path / "patients.csv")


def test_a_listed_file_that_is_absent_and_empty_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    patients(folder, *(f"{path.name},{path.name},train" for path in folder.iterdir()), "z.avi,z,train")
    with pytest.raises(InputError, match=r"patients\.csv: expected files that exist, got '\.DS_Store'") as caught:
        read_videos(folder)
    assert "got 'z.avi'" in str(caught.value)
    (tmp_path / "bare").mkdir()
    with pytest.raises(InputError, match="bare: expected DICOM.*found no video"):
        read_videos(tmp_path / "bare")
    with pytest.raises(InputError, match="nowhere: expected a folder of videos"):
        read_videos(tmp_path / "nowhere")
    (tmp_path / "patients.csv").write_bytes(b"file,patient,split\n\xff\xfe\n")
    with pytest.raises(InputError, match=r"patients\.csv: expected a CSV file in UTF-8"):
        read_patients(tmp_path / "patients.csv")
