"""What a run of a recipe will cost."""

from dataclasses import dataclass

from usjepa.estimate.flops import Counts, StepPart, encoder, step_flops, tokens_of
from usjepa.estimate.masks import DRAWS, mask_counts
from usjepa.recipe import AnyRecipe, SegmentRecipe, VideoMAERecipe

CAMUS_CLIPS = 1000
"""500 patients in two views (section 3)."""


@dataclass(frozen=True)
class Plan:
    """The cost of one run: FLOPs of a step by part, of all rows of its log, and of what it computes once."""

    recipe: AnyRecipe
    families: list[Counts]
    parts: list[StepPart]
    log_flops: float
    once_flops: float

    @property
    def step_flops(self) -> float:
        """FLOPs of one step."""
        return sum(part.forward + part.backward for part in self.parts)

    @property
    def flops(self) -> float:
        """FLOPs of the whole run."""
        return self.recipe.steps * self.step_flops + self.log_flops + self.once_flops


def plan_of(recipe: AnyRecipe, clips: int = CAMUS_CLIPS, draws: int = DRAWS) -> Plan:
    """The cost of this run without its ancestors. `clips`: how many a frozen encoder has to encode, each once.

    A row of the log takes a pass of its own: forward and, for each loss, backward; VideoMAE's also encodes whole clips.
    """
    families = mask_counts(recipe, draws)
    parts = step_flops(recipe, families)
    if isinstance(recipe, SegmentRecipe):
        model = recipe.start.model
        whole = encoder(recipe.clip, model, tokens_of(recipe.clip, model)).part("encoder", clips, is_trained=False)
        return Plan(recipe, families, parts, 0.0, 0.0 if recipe.trains_encoder else whole.forward)
    forward, backward = sum(part.forward for part in parts), sum(part.backward for part in parts)
    one_row = forward + 2 * backward
    if isinstance(recipe, VideoMAERecipe):
        every = tokens_of(recipe.clip, recipe.model)
        one_row = forward + backward + encoder(recipe.clip, recipe.model, every).part("", recipe.batch).forward
    return Plan(recipe, families, parts, one_row * (recipe.steps // recipe.log_every + 1), 0.0)
