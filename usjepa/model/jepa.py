"""Figure 1 in one forward: student, predictor, teacher and localisation head."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from usjepa.losses import combined_loss, localisation_loss, prediction_loss, relative_offset
from usjepa.model.encoder import Encoder
from usjepa.model.localiser import OffsetHead, sample_pairs
from usjepa.model.masking import Mask
from usjepa.model.predictor import Predictor
from usjepa.model.teacher import make_teacher, target_features
from usjepa.model.tokens import take
from usjepa.recipe import PretrainRecipe


class LossTerms(NamedTuple):
    """Scalars of Eq. 1, 3 and 4, and the teacher's normalised features that they were measured against."""

    prediction: Float[Tensor, ""]
    localisation: Float[Tensor, ""]
    combined: Float[Tensor, ""]
    target: Float[Tensor, "b n d"]


class JEPA(nn.Module):
    """V-JEPA with the localisation task (Figure 1). `teacher` is moved by `ema_update_`, never by a gradient."""

    def __init__(self, recipe: PretrainRecipe) -> None:
        super().__init__()
        model = recipe.model
        self.recipe = recipe
        self.encoder = Encoder(model, recipe.clip)
        self.encoder.freeze_(recipe.frozen_blocks)
        self.predictor = Predictor(model, self.encoder.grid, families=len(recipe.masks))
        self.head = OffsetHead(model.width, model.head_width)
        self.teacher = make_teacher(self.encoder)

    def forward(self, clip: Float[Tensor, "b c T H W"], masks: Sequence[Mask], generator: Generator) -> LossTerms:
        """The loss of one batch; each mask family counts the same. `generator` draws the pairs."""
        target = target_features(self.teacher, clip)
        predictions, localisations = [], []
        for family, mask in enumerate(masks):
            predicted = self.predictor(self.encoder(clip, mask.context), mask, family)
            predictions.append(prediction_loss(predicted, take(target, mask.target)))
            localisations.append(self.localise(predicted, mask, generator))
        prediction, localisation = torch.stack(predictions).mean(), torch.stack(localisations).mean()
        combined = combined_loss(prediction, localisation, self.recipe.prediction_weight)
        return LossTerms(prediction, localisation, combined, target)

    def localise(self, predicted: Float[Tensor, "b m d"], mask: Mask, generator: Generator) -> Float[Tensor, ""]:
        """Eq. 3 on random pairs of one family's predicted tokens."""
        pairs = sample_pairs(mask.target, self.recipe.pairs, generator)
        answer = self.head(take(predicted, pairs.first), take(predicted, pairs.second))
        first, second = (torch.take_along_dim(mask.target, slot, dim=1) for slot in pairs)
        return localisation_loss(answer, relative_offset(first, second, self.encoder.grid))
