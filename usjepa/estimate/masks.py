"""How many tokens are seen and predicted: counted on the masks of a run's own first steps."""

import numpy as np

from usjepa.estimate.flops import Counts
from usjepa.recipe import AnyRecipe, PretrainRecipe

DRAWS = 200


def mask_counts(recipe: AnyRecipe, draws: int = DRAWS) -> list[Counts]:
    """Tokens a clip of each of V-JEPA's mask families, thinned as the recipe says, for so many batches; else none.

    Where a recipe keeps to the ultrasound sector, which only the data know, the whole frame is counted.
    Raises InputError if the masks can't be drawn.
    """
    if not isinstance(recipe, PretrainRecipe):
        return []
    from usjepa.model.encoder import grid_of
    from usjepa.model.masking import drawn_masks
    from usjepa.training.streams import Stream, generator

    grid, counts = grid_of(recipe.clip, recipe.model), np.empty((len(recipe.masks), draws, 2), dtype=np.int64)
    for step in range(draws):
        of_step = generator(recipe.seed, Stream.MASKS, step)
        for family, mask in enumerate(drawn_masks(recipe, grid, of_step)):
            counts[family, step] = mask.context.shape[1], mask.target.shape[1]
    return [Counts(family[:, 0], family[:, 1]) for family in counts]
