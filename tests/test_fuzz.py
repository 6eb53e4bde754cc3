"""Damaged data sets: a clear error or the exact pixels, never others.

150 cases; `USJEPA_FUZZ=1500 pytest tests/test_fuzz.py` runs as many as it says. What no reader can notice is not
tried: a pixel changed in a file without a checksum (.nii, .raw).
"""

import gzip
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from camus_trees import SIZES, pixels, write_mhd_tree, write_nifti_tree
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from usjepa.data.camus import read_camus
from usjepa.errors import InputError

CASES = int(os.environ.get("USJEPA_FUZZ", "150"))
HEADER_BYTES = 352
PATIENTS = ("patient0001", "patient0002")
IMAGES = [f"{{0}}/{{0}}_{view}_half_sequence{ending}.nii" for view in SIZES for ending in ("", "_gt")]
OLD_IMAGES = [f"{{0}}/{{0}}_{view}_sequence{ending}" for view in SIZES for ending in ("", "_gt")]
KINDS = {
    "packed": ["truncate", "flip", "header", "swap", "cfg", "list"],
    "plain": ["truncate", "header", "swap", "cfg"],
    "old": ["truncate", "flip", "header", "swap", "cfg", "list"],
}

share = st.floats(0, 1, exclude_max=True)
flips = st.lists(st.tuples(share, st.integers(1, 255)), min_size=1, max_size=3)


@pytest.fixture(scope="module")
def trees(tmp_path_factory) -> dict[str, Path]:
    """One tree of each kind; a case damages it and puts it right again."""
    home = tmp_path_factory.mktemp("trees")
    packed = write_nifti_tree(home / "packed")
    plain = shutil.copytree(packed, home / "plain")
    for path in plain.rglob("*.nii.gz"):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    return {"packed": packed, "plain": plain, "old": write_mhd_tree(home / "old")}


def flipped(stored: bytes, changes: list[tuple[float, int]], end: int | None = None) -> bytes:
    """The bytes before `end` at these shares of the length, each changed by its mask."""
    damaged = bytearray(stored)
    for where, mask in changes:
        damaged[int(where * (end or len(stored)))] ^= mask
    return bytes(damaged)


def shortened(stored: bytes, part: float) -> bytes:
    return stored[: int(part * len(stored))]


def home_of(tree: str, root: Path) -> Path:
    return root / ("training" if tree == "old" else "database_nifti")


def on_header(path: Path, change) -> bytes:
    """The file with its first 352 bytes, uncompressed, given to `change`; its checksum fits again."""
    stored = path.read_bytes()
    if path.suffix != ".gz":
        return change(stored[:HEADER_BYTES]) + stored[HEADER_BYTES:]
    content = gzip.decompress(stored)
    return gzip.compress(change(content[:HEADER_BYTES]) + content[HEADER_BYTES:], mtime=0)


def header_of(path: Path) -> bytes:
    stored = path.read_bytes()
    return (gzip.decompress(stored) if path.suffix == ".gz" else stored)[:HEADER_BYTES]


def damage_text(tree: str, kind: str, root: Path, data: st.DataObject) -> dict[Path, bytes]:
    """A cfg or a list with changed bytes."""
    lists = root / ("listSubGroups" if tree == "old" else "database_split")
    path = home_of(tree, root) / "patient0001" / "Info_2CH.cfg" if kind == "cfg" else sorted(lists.glob("*.txt"))[0]
    return {path: flipped(path.read_bytes(), data.draw(flips))}


def damage_old(tree: str, kind: str, root: Path, data: st.DataObject) -> dict[Path, bytes]:
    """An .mhd with changed bytes or that of another image, a .zraw with changed bytes, any of them cut."""
    home, image = home_of(tree, root), st.sampled_from(OLD_IMAGES)
    first, second = (home / data.draw(image).format(data.draw(st.sampled_from(PATIENTS))) for _ in range(2))
    header, other = (Path(f"{path}.mhd") for path in (first, second))
    pixels_of = Path(f"{first}{'.zraw' if first.name.endswith('_gt') else '.raw'}")
    if kind == "swap":
        return {header: other.read_bytes(), other: header.read_bytes()}
    if kind == "truncate":
        path = data.draw(st.sampled_from([header, pixels_of]))
        return {path: shortened(path.read_bytes(), data.draw(share))}
    path = pixels_of if kind == "flip" and pixels_of.suffix == ".zraw" else header
    return {path: flipped(path.read_bytes(), data.draw(flips))}


def damage_new(tree: str, kind: str, root: Path, data: st.DataObject) -> dict[Path, bytes]:
    """A NIfTI file cut, with changed bytes as stored or in its header, or with the header of another."""
    home, image = home_of(tree, root), st.sampled_from(IMAGES)
    ending = ".gz" if tree == "packed" else ""
    path, other = (home / f"{data.draw(image)}{ending}".format(data.draw(st.sampled_from(PATIENTS))) for _ in range(2))
    if kind == "truncate":
        return {path: shortened(path.read_bytes(), data.draw(share))}
    if kind == "flip":
        return {path: flipped(path.read_bytes(), data.draw(flips))}
    if kind == "header":
        changes = data.draw(flips)
        return {path: on_header(path, lambda header: flipped(header, changes))}
    heads = header_of(path), header_of(other)
    return {path: on_header(path, lambda _: heads[1]), other: on_header(other, lambda _: heads[0])}


def require_exact(root: Path) -> str:
    """Read everything; gives "exact", or "refused" if there was an InputError; anything else is a failure."""
    try:
        sequences = list(read_camus(root))
    except InputError as error:
        # Some words on what was expected or found, and some on what to do.
        return (
            "refused"
            if re.search(r": .*(expected|truncated).*[.:] \S+", str(error), re.DOTALL)
            else f"unclear: {error}"
        )
    assert len(sequences) == 6
    for sequence in sequences:
        frames, labels = pixels(int(sequence.patient[-4:]), sequence.view)
        assert np.array_equal(sequence.frames, frames), sequence.name
        assert np.array_equal(sequence.labels, labels), sequence.name
    return "exact"


@pytest.mark.parametrize("tree", ["packed", "plain", "old"])
def test_undamaged_trees_are_exact(trees, tree):
    assert require_exact(trees[tree]) == "exact"


@pytest.mark.filterwarnings("ignore:.*left out")
@settings(
    max_examples=CASES,
    deadline=None,
    database=None,
    derandomize="USJEPA_FUZZ" not in os.environ,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(tree=st.sampled_from(list(KINDS)), data=st.data())
def test_a_damaged_tree_gives_an_error_or_the_exact_pixels(trees, tree, data):
    kind = data.draw(st.sampled_from(KINDS[tree]))
    change = damage_text if kind in ("cfg", "list") else damage_old if tree == "old" else damage_new
    damaged = change(tree, kind, trees[tree], data)
    whole = {path: path.read_bytes() for path in damaged}
    try:
        for path, content in damaged.items():
            path.write_bytes(content)
        outcome = require_exact(trees[tree])
        event(f"{tree} {kind}: {outcome}")
        assert outcome in ("exact", "refused")
    finally:
        for path, content in whole.items():
            path.write_bytes(content)
