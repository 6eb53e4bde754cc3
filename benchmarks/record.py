"""Where a benchmark keeps what it measured."""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch


def keep(record: dict[str, Any], file: Path | None) -> None:
    """Write a record as JSON, if a file is named."""
    if file is not None:
        file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def record_of(description: str | None, sizes: Iterable[str], measure: Callable[[str, Path], dict[str, Any]]) -> None:
    """A benchmark's command: measure at the size asked for, in a folder that goes again, print and keep."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--size", choices=sizes, default="tiny")
    options.add_argument("--json", type=Path, metavar="FILE")
    asked = options.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        record = measure(asked.size, Path(folder))
    print(json.dumps(record, indent=1))
    keep(record, asked.json)
