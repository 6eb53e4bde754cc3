"""What lies in a folder or file: CAMUS, EchoNet-Dynamic, or one's own videos."""

from pathlib import Path

from usjepa.data.camus import CamusTree, read_camus
from usjepa.data.collection import Videos
from usjepa.data.echonet import FILE_LIST, TRACINGS, read_echonet
from usjepa.data.layout import PATIENT
from usjepa.data.videos import read_videos
from usjepa.errors import InputError


def read_source(path: Path, *, strict: bool = True) -> CamusTree | Videos:
    """The sequences of any source, read when asked for.

    A folder with FileList.csv or VolumeTracings.csv is EchoNet-Dynamic's, one with folders called patient0001 and so
    on is CAMUS's or a phantom, and any other, or a file, holds one's own videos. Raises InputError as their readers do.
    """
    if not path.exists():
        raise InputError(f"{path}: expected a data folder or a video, found nothing. Check the path.")
    if any((path / name).is_file() for name in (FILE_LIST, TRACINGS)):
        return read_echonet(path, strict=strict)
    if path.is_dir() and _is_camus(path):
        return read_camus(path, strict=strict)
    return read_videos(path, strict=strict)


def _is_camus(folder: Path) -> bool:
    """Whether a patient's folder lies in it, or as deep as CAMUS_public/CAMUS_public/database_nifti/patient0001."""
    depths = ("*", "*/*", "*/*/*", "*/*/*/*")
    return any(PATIENT.fullmatch(path.name) and path.is_dir() for depth in depths for path in folder.glob(depth))
