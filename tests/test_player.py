"""The frame player as text; what it does in a browser is in test_browser.py."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from usjepa.errors import InputError
from usjepa.present.player import _refuse_bad, frame_player

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (3, 20, 30), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (2, 20, 30, 3), dtype=np.uint8)


def stored_frames(page: str) -> list[np.ndarray]:
    encoded = re.findall(r'src="data:image/webp;base64,([^"]+)"', page)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))) for text in encoded]


@pytest.mark.parametrize("frames", [GREY, COLOUR])
def test_every_frame_is_stored_exactly(frames):
    shown = stored_frames(frame_player(frames, interval_s=0.05, alt="noise")._repr_html_())
    assert len(shown) == len(frames)
    for frame, stored in zip(frames, shown, strict=True):
        expected = frame if frame.ndim == 3 else np.repeat(frame[..., None], 3, axis=2)
        np.testing.assert_array_equal(stored, expected)


def test_a_quality_makes_the_page_smaller():
    exact = frame_player(GREY, interval_s=0.05, alt="noise")
    assert len(frame_player(GREY, interval_s=0.05, alt="noise", quality=30).page) < len(exact.page)


def test_equal_frames_give_equal_bytes_and_other_frames_another_id():
    first, again = (frame_player(GREY, interval_s=0.05, alt="noise") for _ in range(2))
    other = frame_player(GREY[::-1].copy(), interval_s=0.05, alt="noise")
    assert first.page == again.page
    ids = [re.search(r'id="(player-[0-9a-f]{12})"', player.page)[1] for player in (first, other)]
    assert ids[0] != ids[1]


def test_only_the_first_frame_shows_before_anything_is_touched():
    page = frame_player(GREY, interval_s=0.05, alt="noise").page
    assert ["display:none" in tag for tag in re.findall(r"<img [^>]*>", page)] == [False, True, True]


def test_the_description_is_escaped_and_names_the_frame():
    page = frame_player(GREY, interval_s=0.05, alt='a "quoted" <b>').page
    assert 'alt="a &quot;quoted&quot; &lt;b&gt;, frame 2 of 3, 50 ms"' in page


def test_slowdown_changes_the_pace_and_not_the_label():
    page = frame_player(GREY, interval_s=0.05, alt="noise", slowdown=4.0).page
    assert ",200)" in page
    assert re.findall(r'data-label="([^"]+)"', page)[1] == "frame 2 of 3, 50 ms"


def test_a_mapping_labels_its_frames_in_place_of_the_time():
    page = frame_player({"λ = 1": GREY[0], 'λ < "1"': GREY[1]}, interval_s=1.0, alt="noise").page
    assert re.findall(r'data-label="([^"]+)"', page) == ["frame 1 of 2, λ = 1", "frame 2 of 2, λ &lt; &quot;1&quot;"]
    assert '<output aria-live="off">frame 1 of 2, λ = 1</output>' in page
    assert " ms" not in page


def test_labelled_frames_of_several_shapes_are_refused():
    with pytest.raises(InputError, match=r"frames: .*\[\(20, 30\), \(20, 29\)\]"):
        frame_player({"one": GREY[0], "other": GREY[0, :, 1:]}, interval_s=1.0, alt="noise")


def test_nothing_is_fetched():
    assert not re.search(r"https?://|src=\"(?!data:)", frame_player(GREY, interval_s=0.05, alt="noise").page)


def test_its_name_in_a_plain_console_is_short():
    assert repr(frame_player(GREY, interval_s=0.05, alt="noise")) == "FramePlayer(3 frames of 20 x 30, 50 ms apart)"


@pytest.mark.parametrize(
    ("frames", "interval_s", "alt", "field"),
    [
        (GREY.astype(np.float32), 0.05, "noise", "frames: .*float32"),
        (GREY[0], 0.05, "noise", r"frames: .*\(20, 30\)"),
        (GREY[:0], 0.05, "noise", r"frames: .*\(0, 20, 30\)"),
        (GREY, 0.0, "noise", "interval_s"),
        (GREY, 0.05, " ", "alt"),
    ],
)
def test_what_cannot_be_played_is_refused(frames, interval_s, alt, field):
    with pytest.raises(InputError, match=field):
        _refuse_bad(frames, interval_s, alt)
