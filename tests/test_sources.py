import shutil
from pathlib import Path

import pytest
from films import moving, write_film
from pydicom import examples
from test_echonet import tree as echonet_tree

from usjepa.cli import main
from usjepa.data.camus import CamusTree
from usjepa.data.phantom import PhantomRecipe, write_phantom
from usjepa.data.sources import read_source
from usjepa.data.store import open_store
from usjepa.errors import InputError

__all__ = ["echonet_tree"]


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A folder of two own videos."""
    folder = tmp_path / "mine"
    folder.mkdir()
    write_film(folder / "a.avi", moving(6, 32))
    shutil.copy(examples.get_path("ybr_color"), folder / "b.dcm")
    return folder


def test_each_kind_of_folder_is_recognised(tmp_path: Path, echonet_tree: Path, mine: Path) -> None:
    camus = write_phantom(PhantomRecipe(patients=3, rows=48), tmp_path / "camus")
    for folder in (camus, camus.parent) if camus.name != "camus" else (camus,):
        assert isinstance(read_source(folder), CamusTree)
    assert [one.view for one in read_source(echonet_tree)] == ["4CH"] * 3
    assert [one.patient for one in read_source(mine)] == ["a", "b"]
    assert len(read_source(mine / "a.avi")) == 1


def test_half_an_echonet_tree_is_no_folder_of_own_videos(echonet_tree: Path) -> None:
    (echonet_tree / "FileList.csv").unlink()
    with pytest.raises(InputError, match=r"FileList\.csv: expected a list of EchoNet-Dynamic"):
        read_source(echonet_tree)


def test_leniency_is_handed_on(mine: Path) -> None:
    (mine / "notes.txt").write_text("no video")
    with pytest.raises(InputError, match=r"notes\.txt"):
        read_source(mine)
    with pytest.warns(UserWarning, match="1 of 3 videos are left out"):
        assert len(read_source(mine, strict=False)) == 2


def test_nothing_is_refused_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: expected a data folder or a video, found nothing"):
        read_source(tmp_path / "nowhere")


def test_the_command_prepares_any_source(echonet_tree: Path, mine: Path, tmp_path: Path, capsys) -> None:
    sources = {"echonet": (echonet_tree, 3), "mine": (mine, 2), "one": (mine / "b.dcm", 1)}
    for name, (source, count) in sources.items():
        assert main(["data", "prepare", str(source), str(tmp_path / "stores" / name), "--size", "32"]) == 0
        assert f"{count} sequences" in capsys.readouterr().out
        assert len(open_store(tmp_path / "stores" / name).entries) == count
    (mine / "a.avi").write_bytes(b"RIFF")
    assert main(["data", "prepare", str(mine), str(tmp_path / "stores" / "broken")]) == 2
    assert capsys.readouterr().err.startswith("usjepa: a.avi: expected a whole video")
    assert not (tmp_path / "stores" / "broken").exists()
