from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import sequences

from usjepa.data.collection import Videos, hash_of, refuse_or_warn
from usjepa.data.sequence import UltrasoundSequence
from usjepa.errors import InputError

GOOD = tuple(sequences())[:3]


@dataclass(frozen=True)
class Item:
    """A video that can be read, or can't."""

    number: int
    is_damaged: bool = False

    def read(self) -> UltrasoundSequence:
        if self.is_damaged:
            raise InputError(f"video{self.number}.avi: damaged")
        return GOOD[self.number]

    def key(self) -> str:
        return f"key {self.number}"


def test_sequences_are_read_when_asked_for() -> None:
    videos = Videos((Item(0), Item(1, is_damaged=True), Item(2)), is_strict=True)
    assert len(videos) == 3
    assert videos.keys() == ("key 0", "key 1", "key 2")
    assert videos[2] is GOOD[2]
    given = iter(videos)
    assert next(given) is GOOD[0]
    with pytest.raises(InputError, match=r"video1\.avi: damaged"):
        next(given)


def test_what_is_left_out_is_counted_and_the_first_named() -> None:
    videos = Videos((Item(0, is_damaged=True), Item(1, is_damaged=True), Item(2)), is_strict=False)
    with pytest.warns(UserWarning, match=r"2 of 3 videos are left out, first: video0\.avi: damaged"):
        assert list(videos) == [GOOD[2]]
    assert list(Videos((Item(1),), is_strict=False)) == [GOOD[1]]


def test_problems_are_raised_together_or_counted(tmp_path: Path) -> None:
    problems = [f"video{number}.avi: damaged" for number in range(12)]
    with pytest.raises(InputError, match=r"12 problem\(s\) among 20 video\(s\):\n  video0") as caught:
        refuse_or_warn(tmp_path, problems, 20, is_strict=True)
    assert str(caught.value).count("damaged") == 10
    with pytest.warns(UserWarning, match=r"12 of 20"):
        refuse_or_warn(tmp_path, problems, 20, is_strict=False)
    refuse_or_warn(tmp_path, [], 20, is_strict=True)


def test_a_folders_hash_knows_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"2")
    hashes = [hash_of(tmp_path)]
    (tmp_path / ".DS_Store").write_bytes(b"view of a window")
    assert hash_of(tmp_path) == hashes[0]
    (tmp_path / "b").write_bytes(b"3")
    hashes.append(hash_of(tmp_path))
    (tmp_path / "b").rename(tmp_path / "c")
    hashes.append(hash_of(tmp_path))
    assert len(set(hashes)) == 3
    assert hash_of(tmp_path / "a") == "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"
