"""Where a benchmark keeps what it measured."""

import json
from pathlib import Path
from typing import Any


def keep(record: dict[str, Any], file: Path | None) -> None:
    """Write a record as JSON, if a file is named."""
    if file is not None:
        file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
