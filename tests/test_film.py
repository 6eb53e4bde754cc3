import io

import av
import numpy as np
import pytest
from films import RATE_HZ, moving, write_film
from PIL import Image

from usjepa.data.film import read_film
from usjepa.errors import InputError

FRAMES = moving()


@pytest.mark.parametrize(("name", "codec", "pixels"), [("a.avi", "ffv1", "gray"), ("b.MOV", "png", "rgb24")])
def test_lossless_films_come_back_exactly(tmp_path, name, codec, pixels):
    film = read_film(write_film(tmp_path / name.lower(), FRAMES, codec, pixels).rename(tmp_path / name))
    assert np.array_equal(film.frames, FRAMES)
    assert film.interval_s == pytest.approx(1 / RATE_HZ)
    assert film.spacing_mm is None


def test_mjpeg_grey_is_the_luma_that_pillow_decodes(tmp_path):
    path = write_film(tmp_path / "a.avi", FRAMES)
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    luma = [np.asarray(Image.open(io.BytesIO(packet)).convert("YCbCr"))[..., 0] for packet in packets]
    film = read_film(path)
    assert len(film.frames) == len(FRAMES)
    assert np.abs(film.frames - np.stack(luma).astype(int)).max() <= 1
    assert np.abs(film.frames - FRAMES.astype(int)).mean() < 4


def test_the_narrow_range_of_mp4_is_spread_to_0_to_255(tmp_path):
    film = read_film(write_film(tmp_path / "a.mp4", FRAMES, "libx264", "yuv420p"))
    assert np.abs(film.frames - FRAMES.astype(int)).max() <= 4
    assert film.frames.max() - film.frames.min() > 245


def test_colour_becomes_bt601_luma(tmp_path):
    colours = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3)).astype(np.uint8)
    film = read_film(write_film(tmp_path / "a.avi", colours, "ffv1", "bgr0"))
    assert np.abs(film.frames - colours @ (0.299, 0.587, 0.114)).max() <= 1.5


def test_unevenly_spaced_frames_have_no_interval(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=RATE_HZ)
        stream.height, stream.width, stream.pix_fmt = 16, 16, "rgb24"
        for pts in (0, 1, 2, 12, 13):
            picture = av.VideoFrame.from_ndarray(FRAMES[pts % 12, :16, :16], format="gray")
            picture.pts = pts
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    film = read_film(path)
    assert len(film.frames) == 5
    assert film.interval_s is None


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [("a.avi", "mjpeg", "yuvj420p"), ("a.avi", "rawvideo", "bgr24"), ("a.mp4", "libx264", "yuv420p")],
)
def test_a_film_that_breaks_off_is_refused_and_never_shorter(tmp_path, name, codec, pixels, share):
    path = write_film(tmp_path / name, FRAMES, codec, pixels)
    stored = path.read_bytes()
    path.write_bytes(stored[: int(share * len(stored))])
    with pytest.raises(InputError, match=rf"{name}: expected"):
        read_film(path)


def test_an_avi_that_lost_whole_frames_is_refused(tmp_path):
    path = write_film(tmp_path / "a.avi", FRAMES)
    stored = path.read_bytes()
    # The first mark stands in the header: the eighth opens the seventh frame, and every frame left is whole.
    start = 0
    for _ in range(8):
        start = stored.index(b"00dc", start + 1)
    path.write_bytes(stored[:start])
    with pytest.raises(InputError, match=r"a\.avi: expected 12 frames, got 6"):
        read_film(path)


@pytest.mark.parametrize("where", [0.3, 0.5, 0.7])
def test_a_flipped_bit_is_found_where_the_codec_has_a_checksum(tmp_path, where):
    path = write_film(tmp_path / "a.mov", FRAMES, "png", "rgb24")
    stored = bytearray(path.read_bytes())
    stored[int(where * len(stored))] ^= 4
    path.write_bytes(bytes(stored))
    with pytest.raises(InputError, match=r"a\.mov: expected a whole video"):
        read_film(path)


def test_turned_frames_are_refused(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=RATE_HZ)
        stream.height, stream.width, stream.pix_fmt = 16, 16, "rgb24"
        stream.set_display_rotation(90)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(FRAMES[0, :16, :16], format="gray")))
        container.mux(stream.encode())
    with pytest.raises(InputError, match=r"a\.mp4: expected upright frames, got a turn by 90"):
        read_film(path)


def test_what_is_no_film_is_refused(tmp_path):
    secret = write_film(tmp_path / "secret.avi", FRAMES)
    contents = {
        "empty.avi": b"",
        "page.mp4": b"<!doctype html>",
        "list.avi": f"ffconcat version 1.0\nfile {secret}\n".encode(),
        "playlist.mov": f"#EXTM3U\n#EXTINF:1,\n{secret}\n".encode(),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name}: expected"):
            read_film(tmp_path / name)
    with pytest.raises(InputError, match="found none"):
        read_film(tmp_path / "absent.avi")


def test_a_film_larger_than_the_limit_is_refused_before_it_is_stacked(tmp_path, monkeypatch):
    path = write_film(tmp_path / "a.avi", FRAMES)
    monkeypatch.setattr("usjepa.data.film.LARGEST_BYTES", 100_000)
    with pytest.raises(InputError, match=r"a\.avi: expected at most 100000 pixels"):
        read_film(path)
