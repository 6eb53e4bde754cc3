"""What a run was computed with: versions, device and commit, for the record."""

import json
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch

from usjepa.errors import InputError
from usjepa.training.checkpoint import write_whole


def keep_environment(path: Path, given: dict[str, str], source: str, device: torch.device, *, is_over: bool) -> None:
    """Record what a run is made from (`given`: hashes of data and weights; `source`) and with; if it is over only look.

    Where a run goes on elsewhere, an entry becomes "earlier then now". Raises InputError for other data or weights.
    """
    earlier = json.loads(path.read_text()) if path.exists() else given
    for what, mark in given.items():
        if earlier[what] != mark:
            raise InputError(
                f"{path.parent}: expected the {what} that this run began with ({earlier[what][:12]}), got {mark[:12]}. "
                "Give these, or another folder of runs."
            )
    if is_over:
        return
    now = {"source": source} | describe_environment(device)
    known = given | {what: _then(earlier.get(what, ""), mark) for what, mark in now.items()}
    if known != earlier:
        write_whole(path, lambda path: path.write_text(json.dumps(known, indent=1) + "\n"))


def read_environment(folder: Path) -> dict[str, str]:
    """What `keep_environment` recorded of a run. Raises InputError if the record is missing or damaged."""
    path = folder / "environment.json"
    try:
        record: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
        return {"data": record["data"], "weights": record["weights"]} | record
    except (OSError, ValueError, LookupError, TypeError) as error:
        came = f"{path}: expected the record of a run, got none ({error})"
        raise InputError(f"{came}. Give a run's whole folder.") from error


def _then(earlier: str, now: str) -> str:
    if earlier in ("", now):
        return now
    return earlier if earlier.endswith(f" then {now}") else f"{earlier} then {now}"


def describe_environment(device: torch.device) -> dict[str, str]:
    """Versions, processor or card, and the commit, for the record."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {
        "device": f"{device.type}: {name}",
        "python": platform.python_version(),
        **{package: version(package) for package in ("torch", "timm", "numpy", "usjepa")},
        "commit": _commit(),
    }


def _processor() -> str:
    """The CPU's own name where Linux tells it: results repeat to the bit on the same kind only."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _commit() -> str:
    """The commit of the source, `-dirty` if changed since; empty outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
