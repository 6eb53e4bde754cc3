"""Which runs a table is made of, in the order in which they are worth having. No torch here."""

from dataclasses import replace
from typing import NamedTuple

from usjepa.catalogue import BASELINES, CONTROLS, TABLE_1, TABLE_2, UNADAPTED, named_baseline, named_recipe
from usjepa.errors import InputError
from usjepa.recipe import AnyRun, Pretraining, Published, Scored, SegmentRecipe, Untrained, chain
from usjepa.recipe_file import recipe_hash

LENGTHS = {
    f"{name}-steps{label}": (name, factor)
    for label, factor in (("/16", 1 / 16), ("/4", 1 / 4), ("x3", 3.0))
    for name in ("vjepa", "videomae")
}
"""Rows of the plan "scaling": a row of the catalogue and what its pre-training's steps are multiplied by."""


class Rows(NamedTuple):
    """Names of rows, and shares of the labels, both in the order in which they are worth having."""

    names: tuple[str, ...]
    fractions: tuple[float, ...]


PLANS = {
    "table2": Rows((*UNADAPTED, "vjepa", "vjepa-ll", "videomae", *list(TABLE_2)[2:], *BASELINES), (1.0, 0.1, 0.5, 0.2)),
    "table1": Rows(tuple(TABLE_1), (1.0,)),
    "table1-fewer": Rows(tuple(TABLE_1), (0.1, 0.5, 0.2)),
    "controls": Rows(("random", "vjepa-start", "vjepa", "vjepa-ll", *CONTROLS), (1.0, 0.1)),
    "scaling": Rows(("random", "vjepa-start", "videomae-start", *LENGTHS, "vjepa", "videomae"), (1.0, 0.1)),
}


class Cell(NamedTuple):
    """One run of a table: a row's name, a seed, a share of the labels and which draw of patients, and the recipe."""

    name: str
    seed: int
    fraction: float
    draw: int
    recipe: Scored

    @property
    def hash(self) -> str:
        """Twelve hex digits: the name of the run's folder."""
        return recipe_hash(self.recipe)

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.name}, seed {self.seed}, {self.fraction:.0%} of the labels"


def plan_cells(name: str, profile: str, seeds: int) -> list[Cell]:
    """The runs of one plan, seed by seed, each row's shares of the labels together.

    A seed below 100 % draws its own patients, the same for every row: the spread over seeds then holds that of the
    draw. Rows without a seed (lazy baselines) come once. Raises InputError for an unknown plan or profile, or no seed.
    """
    if name not in PLANS:
        raise InputError(f"plan: expected one of {', '.join(PLANS)}; got {name!r}. Choose one of these.")
    if seeds < 1:
        raise InputError(f"seeds: expected 1 or more, got {seeds}. Three show their spread.")
    cells = [
        row_cell(row, profile, seed=seed, fraction=fraction)
        for seed in range(seeds)
        for row in PLANS[name].names
        for fraction in PLANS[name].fractions
    ]
    firsts: dict[str, Cell] = {}
    for cell in cells:
        firsts.setdefault(cell.hash, cell)
    return list(firsts.values())


def row_cell(row: str, profile: str, *, seed: int, fraction: float) -> Cell:
    """One run of a row of the catalogue or of `LENGTHS`."""
    draw = seed if fraction < 1 else 0
    if row in BASELINES:
        return Cell(row, seed, fraction, draw, named_baseline(row, profile, seed=seed, fraction=fraction, draw=draw))
    known, factor = LENGTHS.get(row, (row, 1.0))
    recipe = named_recipe(known, profile, seed=seed, fraction=fraction, draw=draw)
    return Cell(row, seed, fraction, draw, recipe if factor == 1 else lengthened(recipe, factor))


def lengthened(recipe: SegmentRecipe, factor: float) -> SegmentRecipe:
    """The same after so many times the pre-training's steps and warm-up; its schedules end with it."""
    start = recipe.start
    assert isinstance(start, Pretraining)
    steps, warmup = max(1, int(factor * start.steps)), int(factor * start.warmup_steps)
    return replace(recipe, start=replace(start, steps=steps, warmup_steps=min(warmup, steps - 1)))


def runs_of(recipe: Scored) -> list[AnyRun]:
    """The run of this recipe and all those that it builds on, the oldest first."""
    return [one for one in chain(recipe) if not isinstance(one, Published | Untrained)]
