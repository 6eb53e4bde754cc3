"""Weights over the network: what broke off goes on where it stopped, and nothing is put in place unchecked."""

import os
import re
from http.client import HTTPException, HTTPResponse
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

from tqdm import tqdm

from usjepa.errors import InputError
from usjepa.weights.files import sha256_of

CHUNK_BYTES = 2**20
PATIENCE_S = 60.0
NETWORK = (OSError, HTTPException)


class Progress(NamedTuple):
    """Bytes of the file that are here, and whether they are all."""

    size_bytes: int
    is_whole: bool


def fetch(address: str, out: Path | None = None, *, sha256: str | None = None) -> Path:
    """Download a file to `out`, by default its own name in this folder, and return it once its SHA-256 is right.

    Until then it is `OUT.part`, from which a later call goes on. Raises InputError for a wrong hash, a server that
    refuses or breaks off, and, with the hash that was computed, if none was given: it has to come from the publisher.
    """
    wanted = _hash(sha256)
    target = out or Path(_name(address))
    part = target.with_name(f"{target.name}.part")
    if target.exists():
        if target.is_file() and sha256_of(target) == wanted:
            return target
        raise InputError(
            f"{target}: expected no file or the wanted one, found another. Move it, or give another --out."
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if wanted is None or not part.exists() or sha256_of(part) != wanted:
            _download(address, part)
        _require_right(part, wanted)
        os.replace(part, target)
    except OSError as error:
        raise InputError(
            f"{part}: expected to write it, got {error.strerror}. Make room, or give --out FILE."
        ) from error
    return target


def _require_right(part: Path, wanted: str | None) -> None:
    came = sha256_of(part)
    if wanted is None:
        raise InputError(
            f"--sha256: expected the file's SHA-256, got none. What came, {part}, has {came}: compare it with what the "
            f"publisher says, and give the same command with --sha256 {came}; nothing is downloaded again."
        )
    if came != wanted:
        raise InputError(
            f"{part}: expected SHA-256 {wanted}, got {came}. Check the hash; if it is right, delete the file."
        )


def _hash(sha256: str | None) -> str | None:
    """The wanted hash in lower case."""
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise InputError(f"--sha256: expected 64 hex digits, got {sha256!r}. Copy it from the publisher.")
    return sha256.lower() if sha256 else None


def _name(address: str) -> str:
    """The name of the file at a web address."""
    name = PurePosixPath(unquote(urlsplit(address).path)).name
    if name in ("", ".."):
        raise InputError(f"{address}: expected the address of a file, got no name. Give --out FILE.")
    return name


def _download(address: str, part: Path) -> None:
    """Ask again from where the answer broke off, as long as each answer brings more than was here before."""
    if urlsplit(address).scheme not in ("http", "https"):
        raise InputError(f"{address}: expected an http or https address, got another. Copy a file to use it from disk.")
    longest = part.stat().st_size if part.exists() else 0
    while not (reached := _attempt(address, part)).is_whole:
        if reached.size_bytes <= longest:
            raise InputError(
                f"{address}: expected the whole file, got {reached.size_bytes} bytes before the connection broke. "
                f"They are kept in {part}: give the same command again to go on."
            )
        longest = reached.size_bytes


def _attempt(address: str, part: Path) -> Progress:
    """One request for what is missing; a server that sends all from the start is let to."""
    here = part.stat().st_size if part.exists() else 0
    request = Request(address, headers={"Range": f"bytes={here}-"} if here else {})
    try:
        answer = urlopen(request, timeout=PATIENCE_S)
    except HTTPError as error:
        with error:
            return _refused(error, address, part, here)
    except NETWORK as error:
        raise InputError(f"{address}: expected a server, got none ({error}). Check address and network.") from error
    with answer:
        if answer.headers.get_content_type() == "text/html":
            raise InputError(
                f"{address}: expected a file, got a web page. Take the address behind its download button."
            )
        is_rest = answer.status == 206
        if is_rest and not answer.headers.get("Content-Range", "").startswith(f"bytes {here}-"):
            raise InputError(
                f"{address}: expected the bytes from {here} on, got others. Delete {part} and begin again."
            )
        return _receive(answer, part, here if is_rest else 0)


def _refused(error: HTTPError, address: str, part: Path, here: int) -> Progress:
    """That nothing is missing (416: there is no such range), if that is why; else InputError."""
    if error.code != 416:
        raise InputError(f"{address}: expected a file, got {error.code} {error.reason}. Check the address.") from error
    if error.headers.get("Content-Range") not in (None, f"bytes */{here}"):
        raise InputError(f"{part}: expected a part, got more than the whole file, {here} bytes. Delete it.") from error
    return Progress(here, is_whole=True)


def _receive(answer: HTTPResponse, part: Path, start: int) -> Progress:
    """Write an answer from byte `start` on, until it ends or breaks off."""
    announced = answer.headers.get("Content-Length")
    total = start + int(announced) if announced is not None else None
    with (
        part.open("ab" if start else "wb") as file,
        tqdm(desc=part.name, total=total, initial=start, unit="B", unit_scale=True, disable=None) as bar,
    ):
        while chunk := _chunk(answer):
            file.write(chunk)
            bar.update(len(chunk))
        size_bytes = file.tell()
    has_ended = chunk is not None
    return Progress(size_bytes, is_whole=has_ended and total in (None, size_bytes))


def _chunk(answer: HTTPResponse) -> bytes | None:
    """What has come next: nothing at the end, None if the connection broke."""
    try:
        return answer.read1(CHUNK_BYTES)
    except NETWORK:
        return None
