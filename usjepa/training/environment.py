"""What a run was computed with: versions, device and commit, for the record."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch


def describe_environment(device: torch.device) -> dict[str, str]:
    """Versions, processor or card, and the commit, for the record."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        "device": f"{device.type}: {name}",
        "python": platform.python_version(),
        **{package: version(package) for package in ("torch", "timm", "numpy", "usjepa")},
        "commit": _commit(),
    }


def _commit() -> str:
    """The commit of the source, `-dirty` if changed since; empty outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
