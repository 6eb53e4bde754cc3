"""Where does the answer to Eq. 3 come from? `python benchmarks/shortcut.py [--json FILE]`, some five minutes of a core.

Seven runs on the phantom from one random start, of one seed, that differ in one thing each; the first goes on where
notebook 09 stops. Beside their curves: the ledger of both gradients, the place of a token read off the encoders by a
linear map, and chance by mask family, which needs no run.
"""

import statistics
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from platformdirs import user_cache_path
from record import record_of

from usjepa.catalogue import named_recipe
from usjepa.data.camus import read_camus
from usjepa.data.clips import whole_clips
from usjepa.data.phantom import PhantomRecipe, write_phantom
from usjepa.data.prepare import prepare
from usjepa.model.encoder import Encoder, grid_of
from usjepa.model.localiser import chance_level
from usjepa.model.masking import multiblock
from usjepa.model.tokens import coordinates
from usjepa.profiles import PROFILES
from usjepa.recipe import PretrainRecipe
from usjepa.training.learners import new_encoder
from usjepa.training.pretrain import pretrain
from usjepa.training.runs import open_run
from usjepa.training.workspace import Workspace

PAPERS = "as in the paper"
CHANGES = {
    PAPERS: {},
    "encoder frozen": {"frozen_blocks": PROFILES["tiny"].vjepa.model.depth},
    "no image": {"localise": "zeroed"},
    "gradient kept from the encoder": {"localise": "detached"},
    "context tokens": {"localise": "context"},
    "context tokens, no position codes": {"localise": "placeless"},
    "Eq. 1 alone": {"prediction_weight": 1.0},
}
STEPS = (0, 20, 40, 60, 100, 249)
TERMS = {"Eq. 1": "prediction", "Eq. 3": "localisation"}
SIZES = {"tiny": (80, 250, 400), "micro": (8, 3, 2)}
"""Patients of the phantom, steps of each run, and batches of masks that chance is averaged over."""


def base_recipe(steps: int) -> PretrainRecipe:
    """Notebook 09's first run, longer: V-JEPA with the localisation loss at `tiny`, from a random start."""
    start = named_recipe("vjepa-ll", "tiny").start
    assert isinstance(start, PretrainRecipe)
    return replace(start, start=None, steps=steps, warmup_steps=min(10, steps - 1), rate_peak=1e-3, log_every=10)


def curves(logs: dict[str, pd.DataFrame]) -> list[dict[str, object]]:
    """Eq. 3 of each run as a share of its masks' chance, at some steps."""
    shares = {name: (log["localisation"] / log["chance"]).set_axis(log["step"]) for name, log in logs.items()}
    kept = {name: share[share.index.isin(STEPS)].round(4) for name, share in shares.items()}
    return [{"Eq. 3, of chance, at step": name, **dict(share.items())} for name, share in kept.items()]


def ledger(log: pd.DataFrame, weight: float) -> list[dict[str, object]]:
    """Norms at the encoder before they are weighted, and Eq. 3's weighted share of both at encoder and predictor."""
    rows = []
    for row in log[log["step"].isin(STEPS)].to_dict("records"):
        found: dict[str, object] = {"gradients at step": row["step"]}
        found |= {f"{name} at encoder": round(row[f"{term}_at_encoder"], 4) for name, term in TERMS.items()}
        for part in ("encoder", "predictor"):
            near, far = (row[f"{term}_at_{part}"] for term in TERMS.values())
            found[f"Eq. 3's share at {part}"] = round((1 - weight) * far / (weight * near + (1 - weight) * far), 3)
        rows.append(found)
    return rows


@torch.no_grad()
def tokens_of(encoder: Encoder, space: Workspace, split: str, recipe: PretrainRecipe, *, coded: bool) -> torch.Tensor:
    """Features of whole clips of a split as rows, after a column of ones; with position codes or without."""
    clips = whole_clips(space.store, space.store.select(split), replace(recipe.clip, policy="uniform"))
    features = torch.cat([encoder(clip[None], has_positions=coded) for clip in clips]).flatten(0, 1).double()
    return torch.cat((torch.ones(len(features), 1, dtype=torch.float64), features), dim=1)


def place_r2(encoder: Encoder, space: Workspace, recipe: PretrainRecipe, *, coded: bool) -> dict[str, float]:
    """R2 on test films, by axis, of a linear map from features to places that was fitted on training films."""
    grid = grid_of(recipe.clip, recipe.model)
    train, test = (tokens_of(encoder, space, split, recipe, coded=coded) for split in ("train", "test"))
    places = coordinates(torch.arange(grid.n), grid).double()
    weights = torch.linalg.lstsq(train, places.repeat(len(train) // grid.n, 1), driver="gelsd").solution
    true = places.repeat(len(test) // grid.n, 1)
    errors = (test @ weights - true).square().sum(dim=0) / (true - true.mean(dim=0)).square().sum(dim=0)
    ending = "" if coded else ", no codes"
    return {f"{axis}{ending}": round(float(1 - error), 3) for axis, error in zip("tij", errors, strict=True)}


def chances(draws: int) -> list[dict[str, object]]:
    """Eq. 3 of the answer zero on the grids of two profiles, for pairs of hidden and of context tokens."""
    rows: list[dict[str, object]] = []
    for profile in ("tiny", "paper"):
        recipe = PROFILES[profile].vjepa
        grid, generator = grid_of(recipe.clip, recipe.model), torch.Generator().manual_seed(0)
        for name, family in zip(("short range", "long range"), recipe.masks, strict=True):
            masks = [multiblock(grid, family, recipe.batch, generator) for _ in range(draws)]
            levels = {
                tokens: round(statistics.mean(chance_level(getattr(mask, side), grid) for mask in masks), 3)
                for side, tokens in (("target", "hidden"), ("context", "context"))
            }
            everything = round(chance_level(torch.arange(grid.n)[None], grid), 3)
            shape = f"{grid.t} x {grid.i} x {grid.j}"
            rows.append({"chance of Eq. 3": f"{shape}, {name}", **levels, "all tokens": everything})
    return rows


def measure(size: str, folder: Path) -> dict[str, object]:
    """The record."""
    patients, steps, draws = SIZES[size]
    phantom = PhantomRecipe(patients=patients, seed=0, rows=80)
    tree = write_phantom(phantom, user_cache_path("usjepa") / phantom.hash(), processes=1)
    recipe = base_recipe(steps)
    store = prepare(read_camus(tree), folder / "store", recipe.clip.size_px)
    space = Workspace(store, folder / "runs", torch.device("cpu"), shows_progress=False)
    variants = {name: replace(recipe, **change) for name, change in CHANGES.items()}
    encoders = {"untrained": new_encoder(recipe)}
    encoders |= {name: pretrain(variant, space).encoder for name, variant in variants.items()}
    logs = {name: open_run(variant, space).log() for name, variant in variants.items()}
    return {
        "data": f"phantom, {patients} patients",
        "start": "random, seed 0",
        "steps": steps,
        "lambda": recipe.prediction_weight,
        "torch": torch.__version__,
        "curves": curves({name: log for name, log in logs.items() if name != "Eq. 1 alone"}),
        "ledger": ledger(logs[PAPERS], recipe.prediction_weight),
        "places": [
            {"R2 of a linear map to the place": name}
            | place_r2(encoder, space, recipe, coded=True)
            | place_r2(encoder, space, recipe, coded=False)
            for name, encoder in encoders.items()
            if name in ("untrained", "Eq. 1 alone", PAPERS, "context tokens, no position codes")
        ],
        "chance": chances(draws),
    }


if __name__ == "__main__":
    record_of(__doc__, SIZES, measure)
