from pathlib import Path

import numpy as np
import pytest
from films import moving, write_film
from skimage.draw import polygon

from usjepa.data.echonet import contour, inside, read_echonet
from usjepa.data.prepare import prepare
from usjepa.errors import InputError

FILE_HEADER = "FileName,EF,ESV,EDV,FrameHeight,FrameWidth,FPS,NumberOfFrames,Split"
TRACING_HEADER = "FileName,X1,Y1,X2,Y2,Frame"
CENTRE, DIASTOLE, SYSTOLE = (56.0, 50.0), (18.0, 34.0), (11.0, 28.0)


def chords(radii: tuple[float, float], count: int = 20) -> list[tuple[float, float, float, float]]:
    """Long axis and horizontal chords of an upright ellipse with these radii (x, y)."""
    (x, y), (a, b) = CENTRE, radii
    heights = [y + b * np.cos(np.pi * (k + 0.5) / count) for k in range(count)]
    halves = [a * np.sqrt(1 - ((h - y) / b) ** 2) for h in heights]
    return [(x, y - b, x, y + b)] + [(x - half, h, x + half, h) for half, h in zip(halves, heights, strict=True)]


def rows(name: str, frame: int, radii: tuple[float, float]) -> list[str]:
    return [f"{name}.avi,{x1},{y1},{x2},{y2},{frame}" for x1, y1, x2, y2 in chords(radii)]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Three videos, the last without a tracing; systole comes first in the first one."""
    root = tmp_path / "EchoNet-Dynamic"
    (root / "Videos").mkdir(parents=True)
    listed, traced = [FILE_HEADER], [TRACING_HEADER]
    for seed, (name, split) in enumerate([("0X1A", "TRAIN"), ("0X2B", "VAL"), ("0X3C", "TEST")]):
        write_film(root / "Videos" / f"{name}.avi", moving(20, 112, seed))
        listed.append(f"{name},55.0,40.0,90.0,112,112,50,20,{split}")
    traced += rows("0X1A", 4, SYSTOLE) + rows("0X1A", 13, DIASTOLE)
    traced += rows("0X2B", 2, DIASTOLE) + rows("0X2B", 19, SYSTOLE)
    (root / "FileList.csv").write_text("\n".join(listed) + "\n")
    (root / "VolumeTracings.csv").write_text("\n".join(traced) + "\n")
    return root


def edited(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_two_frames_are_annotated_diastole_first_and_no_other_has_labels(tree: Path) -> None:
    one, two, three = read_echonet(tree)
    assert [(video.name, video.split) for video in (one, two, three)] == [
        ("0X1A_4CH", "train"),
        ("0X2B_4CH", "validation"),
        ("0X3C_4CH", "test"),
    ]
    assert (one.annotated, two.annotated) == ((13, 4), (2, 19))
    for video in (one, two):
        assert np.flatnonzero(video.labels.any(axis=(1, 2))).tolist() == sorted(video.annotated)
        assert set(np.unique(video.labels)) == {0, 1}
        for frame, (a, b) in zip(video.annotated, (DIASTOLE, SYSTOLE), strict=True):
            assert video.labels[frame].sum() == pytest.approx(np.pi * a * b, rel=0.02)
    assert three.labels is None
    assert three.annotated == ()
    assert one.frames.shape == (20, 112, 112)
    assert one.interval_s == pytest.approx(0.02)
    assert one.spacing_mm is None
    assert np.abs(one.frames - moving(20, 112, 0).astype(int)).mean() < 4


def test_the_long_axis_is_no_part_of_the_contour() -> None:
    points = contour(tuple(chords(DIASTOLE, count=3)))
    assert points[:, 0].tolist() == pytest.approx([47, 38, 47, 65, 74, 65])
    assert points[:, 1].tolist() == pytest.approx([50 + s * 34 * np.sqrt(3) / 2 for s in (1, 0, -1, -1, 0, 1)])


def test_a_filled_contour_agrees_with_scikit_image_but_for_its_edge() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 12))
        radii = rng.uniform(8, 40, 12)
        points = np.stack((56 + radii * np.cos(angles), 56 + radii * np.sin(angles)), axis=1) + 0.001
        ours, theirs = inside(points, (112, 112)), np.zeros((112, 112), bool)
        theirs[polygon(points[:, 1], points[:, 0], (112, 112))] = True
        assert (ours != theirs).sum() <= 1


def test_the_tree_goes_through_the_store_and_is_found_again(tree: Path, tmp_path: Path) -> None:
    store = prepare(read_echonet(tree), tmp_path / "store", 112)
    assert [entry.is_labelled for entry in store.entries] == [True, True, False]
    assert store.labels[store.entries[0].first + 13].any()
    before = (store.folder / "frames.npy").stat().st_mtime_ns
    prepare(read_echonet(tree), tmp_path / "store", 112)
    assert (store.folder / "frames.npy").stat().st_mtime_ns == before
    edited(tree / "VolumeTracings.csv", "56.0,16.0,56.0,84.0,13", "56.0,16.5,56.0,84.0,13")
    assert prepare(read_echonet(tree), tmp_path / "other", 112).fingerprint != store.fingerprint


def test_absent_videos_are_named_or_counted(tree: Path) -> None:
    (tree / "Videos" / "0X2B.avi").unlink()
    with pytest.raises(InputError, match=r"1 problem\(s\) among 3 video\(s\):\n  0X2B\.avi: expected in Videos"):
        read_echonet(tree)
    with pytest.warns(UserWarning, match="1 of 3 videos are left out"):
        assert len(read_echonet(tree, strict=False)) == 2
    for path in (tree / "Videos").iterdir():
        path.unlink()
    with pytest.warns(UserWarning, match="3 of 3"), pytest.raises(InputError, match="found none"):
        read_echonet(tree, strict=False)


def test_a_cut_video_is_refused_when_it_is_read(tree: Path) -> None:
    path = tree / "Videos" / "0X2B.avi"
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(InputError, match=r"0X2B\.avi: expected"):
        list(read_echonet(tree))


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("VolumeTracings.csv", "X1,Y1,X2", "X,Y,X2", "VolumeTracings.csv: expected the columns FileName,X1"),
        ("VolumeTracings.csv", "X1,Y1,X2,Y2", "Y1,X1,X2,Y2", "VolumeTracings.csv: expected the header FileName,X1"),
        ("VolumeTracings.csv", "56.0,22.0", "left,22.0", r"VolumeTracings\.csv, row 2: X1: expected a number"),
        ("VolumeTracings.csv", "56.0,78.0,4", "56.0,78.0,No Systolic", r"row 2: Frame: expected a number"),
        ("VolumeTracings.csv", "56.0,78.0,4", "56.0,78.0,4.5", r"row 2: Frame: expected a whole number"),
        ("VolumeTracings.csv", "56.0,78.0,4", "56.0,78.0", r"row 2: expected 6 values"),
        ("VolumeTracings.csv", "56.0,78.0,4", "56.0,78.0,5", r"0X1A, frame 5: expected a long axis.*got 1 rows"),
        ("FileList.csv", ",TRAIN", ",DEV", r"FileList\.csv, row 2: .*split of TRAIN, VAL, TEST, got '0X1A' and 'DEV'"),
        ("FileList.csv", "0X2B", "0X1A", r"FileList\.csv, row 3: expected a name of its own"),
        ("FileList.csv", "0X2B", "../0X1A", r"FileList\.csv, row 3: expected a name of its own"),
        ("FileList.csv", ",50,20,VAL", ",fast,20,VAL", r"FileList\.csv, row 3: FPS: expected a number"),
        ("FileList.csv", "Split", "Part", r"FileList\.csv: expected the columns FileName,FPS,Split"),
    ],
)
def test_wrong_lists_are_refused_with_file_and_row(tree: Path, file: str, old: str, new: str, words: str) -> None:
    edited(tree / file, old, new)
    with pytest.raises(InputError, match=words):
        read_echonet(tree)


def test_tracings_outside_their_video_are_refused(tree: Path) -> None:
    text = (tree / "VolumeTracings.csv").read_text()
    (tree / "VolumeTracings.csv").write_text(text.replace(",13\n", ",20\n"))
    with pytest.raises(InputError, match=r"VolumeTracings\.csv: 0X1A\.avi, frame 20: expected 0 to 19"):
        list(read_echonet(tree))
    far = "\n".join([TRACING_HEADER, *(f"0X1A.avi,{500 + k},{k},{520 + k},{k},3" for k in range(6))])
    (tree / "VolumeTracings.csv").write_text(far)
    with pytest.raises(InputError, match="frame 3: expected a contour inside the image"):
        list(read_echonet(tree))


def test_missing_and_undecodable_lists_are_refused(tree: Path) -> None:
    (tree / "FileList.csv").write_bytes(b"FileName\xff\n")
    with pytest.raises(InputError, match=r"FileList\.csv: expected a CSV file in UTF-8"):
        read_echonet(tree)
    (tree / "VolumeTracings.csv").unlink()
    with pytest.raises(InputError, match=r"VolumeTracings\.csv: expected a list"):
        read_echonet(tree)
