import gzip
import io
import stat
import tarfile
import zipfile

import numpy as np
import pytest
from camus_trees import write_mhd_tree, write_nifti_tree

from usjepa.cli import main
from usjepa.data.archive import is_archive, unpack_camus, unpacked
from usjepa.data.camus import read_camus
from usjepa.errors import InputError

IMAGE = "CAMUS_public/database_nifti/patient0001/patient0001_4CH_ED.nii.gz"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return write_nifti_tree(tmp_path_factory.mktemp("whole") / "tree")


def zipped(path, entries):
    """A zip of names and contents; a ZipInfo may stand for a name."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in entries:
            file.writestr(name, content)
    return path


def tarred(path, entries, kind=tarfile.REGTYPE):
    mode = "w:gz" if path.name.endswith("gz") else "w"
    with tarfile.open(path, mode) as file:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            info.type, info.size, info.linkname = kind, len(content), "../../etc/passwd"
            file.addfile(info, io.BytesIO(content))
    return path


def packed(tree, path, prefix="CAMUS_public/"):
    """All files of a tree, some clutter among them."""
    entries = [
        (prefix + str(one.relative_to(tree)), one.read_bytes()) for one in sorted(tree.rglob("*")) if one.is_file()
    ]
    clutter = ("__MACOSX/._x", f"{prefix}database_nifti/.DS_Store", f"{prefix}README.md", f"{prefix}setup.py")
    entries += [(name, b"x") for name in clutter]
    return zipped(path, entries) if path.suffix == ".zip" else tarred(path, entries)


def refused(archive, tmp_path, words, **options):
    """The archive is refused by name, and neither a folder nor a trace of one is left."""
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=rf"^{archive.name}: .*{words}"):
        unpack_camus(archive, tmp_path / "out", **options)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tgz"])
@pytest.mark.parametrize("prefix", ["", "CAMUS_public/", "./CAMUS_public/CAMUS_public/"])
def test_what_was_packed_is_unpacked_and_nothing_else(tree, tmp_path, name, prefix):
    out = unpack_camus(packed(tree, tmp_path / name, prefix), tmp_path / "new" / "out")
    whole = {str(one.relative_to(tree)): one.read_bytes() for one in tree.rglob("*") if one.is_file()}
    assert {str(one.relative_to(out)): one.read_bytes() for one in out.rglob("*") if one.is_file()} == whole
    for a, b in zip(read_camus(out), read_camus(tree), strict=True):
        assert np.array_equal(a.frames, b.frames)
        assert a.licence == b.licence


def test_the_older_release_is_unpacked_too(tmp_path):
    old = write_mhd_tree(tmp_path / "old")
    out = unpack_camus(packed(old, tmp_path / "a.zip"), tmp_path / "out")
    assert read_camus(out).keys() == read_camus(old).keys()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../patient0001_4CH_ED.nii.gz", "inside the archive's folder, got '../"),
        ("CAMUS_public/../../x.cfg", "inside the archive's folder"),
        ("/etc/passwd", "got '/etc/passwd'"),
        ("C:/x.cfg", "got 'C:/x.cfg'"),
        ("C:x.cfg", "got 'C:x.cfg'"),
        (r"database_nifti\..\x.cfg", "inside the archive's folder"),
        ("CAMUS_public/model.pkl", "can hold code"),
        (IMAGE.replace("_ED", "_ed").lower(), "expected different names"),
        ("other/" + IMAGE, "expected database_nifti/patient0001/patient0001_4CH_ED.nii.gz once"),
        (IMAGE, "expected different names"),
    ],
)
@pytest.mark.parametrize("make", [zipped, tarred])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_mean_harm_are_refused_and_nothing_is_left(tmp_path, make, name, words):
    archive = make(tmp_path / ("a.zip" if make is zipped else "a.tar"), [(IMAGE, b"x"), (name, b"y")])
    refused(archive, tmp_path, words)


@pytest.mark.parametrize(
    ("kind", "words"),
    [(tarfile.SYMTYPE, "link"), (tarfile.LNKTYPE, "link"), (tarfile.FIFOTYPE, "device"), (tarfile.CHRTYPE, "device")],
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind, words):
    archive = tarred(tmp_path / "a.tar.gz", [(IMAGE, b"")], kind)
    refused(archive, tmp_path, f"files and folders, got a {words}")


def test_links_and_encrypted_members_in_a_zip_are_refused(tmp_path):
    link = zipfile.ZipInfo(IMAGE)
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    refused(zipped(tmp_path / "a.zip", [(link, b"/etc/passwd")]), tmp_path, "got a link")
    archive = zipped(tmp_path / "b.zip", [(IMAGE, b"x")])
    stored = bytearray(archive.read_bytes())
    # The flag stands at byte 6 of the file's own header and at byte 8 of the one in the directory at the end.
    stored[6] |= 1
    stored[stored.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(stored)
    refused(archive, tmp_path, "got an encrypted file")


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_a_bomb_is_refused_by_the_total_of_its_members(tmp_path, name):
    entries = [(IMAGE.replace("0001", f"{number:04d}"), bytes(10**6)) for number in range(1, 5)]
    archive = (zipped if name.endswith("zip") else tarred)(tmp_path / name, entries)
    assert archive.stat().st_size < 30_000
    refused(archive, tmp_path, "expected at most 500000 bytes more, got 1000000", limit_bytes=3_500_000)


def test_a_zip_that_understates_a_size_is_refused(tmp_path):
    archive = zipped(tmp_path / "a.zip", [(IMAGE, bytes(10**5))])
    stored = bytearray(archive.read_bytes())
    directory = stored.index(b"PK\x01\x02")
    stored[22:26] = stored[directory + 24 : directory + 28] = (10).to_bytes(4, "little")
    archive.write_bytes(stored)
    refused(archive, tmp_path, "undamaged archive|expected 10 bytes")


def test_padding_without_end_is_refused(tmp_path):
    archive = tarred(tmp_path / "a.tar", [(IMAGE, b"x")])
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(archive.read_bytes() + bytes(3 * 2**20)))
    refused(tmp_path / "a.tar.gz", tmp_path, "an end after the last file")


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_archive_is_refused_and_nothing_is_left(tree, tmp_path, name, share):
    archive = packed(tree, tmp_path / name)
    stored = archive.read_bytes().rstrip(b"\0")
    archive.write_bytes(stored[: int(share * len(stored))])
    refused(archive, tmp_path, "undamaged archive|expected database_nifti|truncated|expected [0-9]+ bytes")


def test_a_tar_cut_between_two_files_is_refused(tree, tmp_path):
    archive = packed(tree, tmp_path / "a.tar")
    with tarfile.open(archive) as file:
        middle = file.getmembers()[20].offset
    archive.write_bytes(archive.read_bytes()[:middle])
    refused(archive, tmp_path, "truncated")


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_a_flipped_byte_is_noticed_by_the_checksum(tree, tmp_path, name):
    archive = packed(tree, tmp_path / name)
    stored = bytearray(archive.read_bytes())
    stored[len(stored) // 2] ^= 4
    archive.write_bytes(stored)
    refused(archive, tmp_path, "")


def test_an_archive_without_camus_a_missing_one_and_an_old_folder_are_refused(tree, tmp_path):
    refused(zipped(tmp_path / "a.zip", [("photos/cat.jpg", b"x")]), tmp_path, "expected database_nifti/patient0001")
    with pytest.raises(InputError, match="found no file"):
        unpack_camus(tmp_path / "none.zip", tmp_path / "out")
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="expected no such folder"):
        unpack_camus(packed(tree, tmp_path / "b.zip"), tmp_path / "out")


def test_a_folder_goes_through_and_an_archive_is_unpacked_for_a_while(tree, tmp_path):
    with unpacked(tree, tmp_path / "store") as source:
        assert source == tree
    archive = packed(tree, tmp_path / "a.zip")
    assert is_archive(archive)
    with unpacked(archive, tmp_path / "store") as source:
        assert len(read_camus(source)) == 6
    assert list(tmp_path.iterdir()) == [archive]


def test_prepare_takes_an_archive_and_leaves_nothing_but_the_store(tree, tmp_path, capsys):
    archive = packed(tree, tmp_path / "camus.tar.gz")
    assert main(["data", "prepare", str(archive), str(tmp_path / "new" / "store"), "--size", "16"]) == 0
    assert "6 sequences, 42 frames" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["store"]
    archive.write_bytes(archive.read_bytes()[:-100])
    assert main(["data", "prepare", str(archive), str(tmp_path / "other"), "--size", "16"]) == 2
    assert capsys.readouterr().err.startswith("usjepa: camus.tar.gz: expected an undamaged archive")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["camus.tar.gz", "new"]
