"""CAMUS out of a zip or tar archive: only files that belong to it, and nothing of an archive that means harm."""

import contextlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from usjepa.data.layout import MARKER
from usjepa.data.members import DAMAGE, Member, members
from usjepa.data.prepare import written_beside
from usjepa.errors import InputError

LARGEST_TOTAL_BYTES = 64 * 2**30
"""CAMUS takes some GB compressed and some tens uncompressed."""
MOST_MEMBERS = 100_000
CHUNK_BYTES = 2**20
IMAGE = r"_[24]CH_(ED|ES|half_sequence|sequence)(_gt)?\.(nii|nii\.gz|mhd|raw|zraw)"
EXPECTED = re.compile(
    r"(database_nifti|training|testing)/"
    rf"(patient[0-9]{{4}})/(\2{IMAGE}|Info_[24]CH\.cfg|MANDATORY_CITATION\.md)"
    r"|database_split/(subgroup_(training|validation|testing)\.txt|information\.txt|LICENSE_TERMS\.md)"
    r"|listSubGroups/subGroup[0-9]{1,2}_(training|validation|testing)\.txt"
    rf"|{re.escape(MARKER)}"
)
TOP = re.compile(r"(?:^|/)(database_nifti|database_split|training|testing|listSubGroups)(?=/)")
CODE = (".pkl", ".pickle", ".joblib", ".pt", ".pth")


def unpack_camus(archive: Path, folder: Path, limit_bytes: int = LARGEST_TOTAL_BYTES) -> Path:
    """Write the CAMUS files of a .zip, .tar or .tar.gz below `folder`, which must be new, and return it.

    Other files are passed over. Raises InputError for an archive that is damaged, holds a name outside its folder, an
    absolute one, a drive letter, a link, an encrypted member, a pickle, two names that differ in case only, or more
    than `limit_bytes`; then nothing is left.
    """
    if folder.exists():
        raise InputError(f"{folder}: expected no such folder, found one. Give another folder.")
    if not archive.is_file():
        raise InputError(f"{archive}: expected a zip or tar archive, found no file. Check the path.")
    with written_beside(folder) as scratch:
        _unpack(archive, scratch, limit_bytes)
    return folder


@contextlib.contextmanager
def unpacked(source: Path, beside: Path) -> Iterator[Path]:
    """The source itself, or, if it is an archive, a folder with its CAMUS files that vanishes after the block."""
    if not is_archive(source):
        yield source
        return
    beside.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unpacked.", dir=beside.parent) as scratch:
        yield unpack_camus(source, Path(scratch) / "CAMUS_public")


def is_archive(path: Path) -> bool:
    """Whether a file is named as an archive that `unpack_camus` reads."""
    return path.is_file() and path.name.lower().endswith((".zip", ".tar", ".tar.gz", ".tgz"))


def _unpack(archive: Path, scratch: Path, limit_bytes: int) -> None:
    """All expected members into `scratch`, or InputError; the block around it removes what was written."""
    seen: dict[str, str] = {}
    written: dict[str, str] = {}
    room = limit_bytes
    try:
        for member in tqdm(members(archive), desc="unpack", unit="file", disable=None):
            _require_harmless(archive.name, member, seen, room)
            room -= member.size
            target = _target(member.name)
            if member.content is None or target is None:
                continue
            if target.casefold() in written:
                both = f"{written[target.casefold()]} and {member.name}"
                raise InputError(f"{archive.name}: expected {target} once, got {both}. Unpack it by hand and choose.")
            written[target.casefold()] = member.name
            _copy(archive.name, member, scratch / target)
    except DAMAGE as error:
        raise InputError(f"{archive.name}: expected an undamaged archive, got {str(error)!r}. Get it again.") from error
    if not any(PurePosixPath(target).parts[0] in ("database_nifti", "training") for target in written):
        raise InputError(f"{archive.name}: expected database_nifti/patient0001 and so on, found none. Check the file.")


def _require_harmless(archive: str, member: Member, seen: dict[str, str], room: int) -> None:
    """Raise InputError for a member that no data set needs."""
    name = member.name
    advice = "Get the archive from its source again."
    if member.kind not in ("file", "folder"):
        raise InputError(f"{archive}: {name}: expected files and folders, got {member.kind}. {advice}")
    is_outside = name.startswith("/") or "\\" in name or ".." in name.split("/") or re.match(r"[A-Za-z]:", name)
    if is_outside:
        raise InputError(f"{archive}: expected names inside the archive's folder, got {name!r}. {advice}")
    if name.lower().endswith(CODE):
        raise InputError(f"{archive}: expected images and text, got {name!r}, which can hold code. {advice}")
    key = name.rstrip("/").casefold()
    if key in seen and (member.kind == "file" or seen[key] != name.rstrip("/")):
        raise InputError(f"{archive}: expected different names, got {seen[key]} and {name}. {advice}")
    seen[key] = name.rstrip("/")
    if len(seen) > MOST_MEMBERS:
        raise InputError(f"{archive}: expected at most {MOST_MEMBERS} members, got more. {advice}")
    if member.size > room:
        raise InputError(f"{archive}: {name}: expected at most {room} bytes more, got {member.size}. {advice}")


def _target(name: str) -> str | None:
    """Where a member goes, from the first folder of CAMUS in its name on; None for what is no part of CAMUS."""
    tops = [found.start(1) for found in TOP.finditer(name)]
    path = name[tops[-1] :] if tops else PurePosixPath(name).name
    return path if EXPECTED.fullmatch(path) else None


def _copy(archive: str, member: Member, target: Path) -> None:
    """Stream one member to its file. Raises InputError unless it has the length that was announced."""
    assert member.content is not None
    target.parent.mkdir(parents=True, exist_ok=True)
    length = 0
    with open(target, "xb") as file:
        while length <= member.size and (chunk := member.content.read(CHUNK_BYTES)):
            length += len(chunk)
            file.write(chunk)
    if length != member.size:
        raise InputError(f"{archive}: {member.name}: expected {member.size} bytes, got {length}. Get it again.")
