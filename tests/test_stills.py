import numpy as np
import pytest
from films import moving
from PIL import Image

from usjepa.data.stills import is_png_folder, numbered, read_png_folder
from usjepa.errors import InputError

FRAMES = moving(12, 24)


@pytest.fixture
def folder(tmp_path):
    """Frames 1 to 12 without leading zeros."""
    made = tmp_path / "loop"
    made.mkdir()
    for number, frame in enumerate(FRAMES, start=1):
        Image.fromarray(frame).save(made / f"view4_{number}.png")
    return made


def test_frames_come_in_the_order_of_their_numbers(folder):
    (folder / ".DS_Store").write_bytes(b"x")
    film = read_png_folder(folder)
    assert np.array_equal(film.frames, FRAMES)
    assert film.spacing_mm is film.interval_s is None
    assert [path.name for path in numbered(folder)][8:11] == ["view4_9.png", "view4_10.png", "view4_11.png"]


def test_palette_and_colour_become_luma(folder):
    colours = np.random.default_rng(0).integers(0, 256, (24, 24, 3)).astype(np.uint8)
    image = Image.fromarray(colours)
    image.save(folder / "view4_1.png")
    image.convert("RGBA").save(folder / "view4_2.png")
    Image.fromarray(FRAMES[2]).convert("P").save(folder / "view4_3.png")
    frames = read_png_folder(folder).frames
    assert np.abs(frames[0] - colours @ (0.299, 0.587, 0.114)).max() <= 1
    assert np.array_equal(frames[0], frames[1])
    assert np.array_equal(frames[2], FRAMES[2])


def test_a_missing_or_repeated_or_absent_number_is_refused(folder):
    kept = (folder / "view4_5.png").rename(folder.parent / "kept.png")
    with pytest.raises(InputError, match=r"loop: expected evenly numbered frames, got steps of \[1, 2\]"):
        read_png_folder(folder)
    kept.rename(folder / "view4_04.png")
    with pytest.raises(InputError, match=r"steps of \[0, 1, 2\]"):
        read_png_folder(folder)
    (folder / "view4_04.png").rename(folder / "last.png")
    with pytest.raises(InputError, match=r"loop/last\.png: expected a number"):
        read_png_folder(folder)


def test_every_second_frame_is_a_film_too(folder):
    for number in range(2, 13, 2):
        (folder / f"view4_{number}.png").unlink()
    assert np.array_equal(read_png_folder(folder).frames, FRAMES[::2])


def transparent(path):
    Image.fromarray(np.full((24, 24, 4), 128, np.uint8)).save(path)


def deep(path):
    Image.fromarray(np.full((24, 24), 1000, np.uint16)).save(path)


def smaller(path):
    Image.fromarray(FRAMES[0, :20]).save(path)


def cut(path):
    path.write_bytes(path.read_bytes()[:-30])


def flipped(path):
    stored = bytearray(path.read_bytes())
    stored[len(stored) // 2] ^= 1
    path.write_bytes(bytes(stored))


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (transparent, "no transparent pixel"),
        (deep, "8 bits .* got mode I;16"),
        (smaller, r"expected \(24, 24\) pixels as before, got \(20, 24\)"),
        (cut, "a whole PNG image"),
        (flipped, "a whole PNG image"),
        (empty, "a whole PNG image"),
    ],
)
def test_a_damaged_or_unfit_image_is_named(folder, damage, words):
    damage(folder / "view4_7.png")
    with pytest.raises(InputError, match=rf"loop/view4_7\.png: expected {words}|loop/view4_7\.png: {words}"):
        read_png_folder(folder)


def test_a_folder_with_anything_else_is_no_video(folder, tmp_path):
    assert is_png_folder(folder)
    (folder / "notes.txt").write_text("frame 3 is odd")
    assert not is_png_folder(folder)
    (tmp_path / "bare").mkdir()
    assert not is_png_folder(tmp_path / "bare")
    with pytest.raises(InputError, match="bare: expected PNG images, found none"):
        read_png_folder(tmp_path / "bare")
