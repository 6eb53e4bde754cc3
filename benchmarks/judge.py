"""How long to train the probe, and how fast: `python benchmarks/judge.py STORE RUNS [--json FILE]`.

The frozen random encoder of the profile `small`, which favours no method, judged on validation patients alone at other
steps and rates. The protocol's choice rests on this record. Some six minutes of one core; runs that are there are read.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch
from record import keep

from usjepa.catalogue import named_recipe
from usjepa.data.store import open_store
from usjepa.evaluation.metrics import summary
from usjepa.training.experiment import run
from usjepa.training.workspace import Workspace

TRIED = ((0.1, 200, 6e-3), (0.1, 400, 6e-3), (0.1, 800, 6e-3), (1.0, 400, 6e-3), (1.0, 800, 6e-3))
"""Share of the labels, steps, and the peak of the rate."""


def judged(workspace: Workspace, fraction: float, steps: int, rate: float) -> dict[str, object]:
    """One line of the record."""
    named = named_recipe("random", "small", fraction=fraction)
    done = run(replace(named, steps=steps, rate_peak=rate), workspace)
    table = done.table()
    dsc = summary(table[table["split"] == "validation"])["dsc"]["over structures"]
    return {
        "share_of_labels": f"{fraction:.0%}",
        "steps": steps,
        "rate": rate,
        "validation_DSC": round(float(dsc), 4),
        "recipe": done.folder.name,
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("store", type=Path)
    options.add_argument("runs", type=Path)
    options.add_argument("--json", type=Path, metavar="FILE")
    chosen = options.parse_args()
    torch.set_num_threads(1)
    workspace = Workspace(open_store(chosen.store), chosen.runs, torch.device("cpu"))
    record = {"store": workspace.store.fingerprint[:12], "runs": [judged(workspace, *tried) for tried in TRIED]}
    print(json.dumps(record, indent=1))
    keep(record, chosen.json)


if __name__ == "__main__":
    main()
