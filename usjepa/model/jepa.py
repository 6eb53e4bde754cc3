"""Figure 1 in one forward: student, predictor, teacher and localisation head."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor, nn

from usjepa.losses import combined_loss, localisation_loss, prediction_loss, relative_offset
from usjepa.model.encoder import Encoder
from usjepa.model.localiser import OffsetHead, Pairs, sample_pairs
from usjepa.model.masking import Mask, drawn_masks
from usjepa.model.predictor import Predictor
from usjepa.model.teacher import make_teacher, target_features
from usjepa.model.tokens import take
from usjepa.recipe import PretrainRecipe


class Draws(NamedTuple):
    """What is random in one step: of each mask family the masks of the whole batch, and the pairs of Eq. 3."""

    masks: tuple[Mask, ...]
    pairs: tuple[Pairs, ...]


class LossTerms(NamedTuple):
    """Scalars of Eq. 1, 3 and 4; the teacher's features of every token, and the predictions of each family."""

    prediction: Float[Tensor, ""]
    localisation: Float[Tensor, ""]
    combined: Float[Tensor, ""]
    target: Float[Tensor, "b n d"]
    predicted: tuple[Float[Tensor, "b m d"], ...]


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

    @property
    def trained(self) -> dict[str, nn.Module]:
        """The parts that a gradient moves; V-JEPA clips the gradient of each apart."""
        return {"encoder": self.encoder, "predictor": self.predictor, "head": self.head}

    def draw(self, masks: Generator, pairs: Generator, within: Bool[Tensor, "b n"] | None = None) -> Draws:
        """Masks of all tokens, or of those `within`, and pairs among the tokens that Eq. 3 sees, for a whole batch."""
        recipe, grid = self.recipe, self.encoder.grid
        drawn = drawn_masks(recipe, grid, masks, within)
        seen = [mask.context if recipe.localise in ("context", "placeless") else mask.target for mask in drawn]
        return Draws(drawn, tuple(sample_pairs(index, recipe.pairs, pairs) for index in seen))

    def forward(self, clip: Float[Tensor, "b c T H W"], draws: Draws) -> LossTerms:
        """The loss of one batch; each mask family counts the same."""
        target = target_features(self.teacher, clip, normalises=self.recipe.normalises_target)
        predictions, localisations, predicted = [], [], []
        for family, (mask, pairs) in enumerate(zip(*draws, strict=True)):
            context = self.encoder(clip, mask.context)
            predicted.append(self.predictor(context, mask, family))
            predictions.append(prediction_loss(predicted[family], take(target, mask.target)))
            if self.recipe.localise == "predicted":
                localisations.append(self.localise(predicted[family], mask.target, pairs))
            else:
                localisations.append(self._control(clip, context, mask, family, pairs))
        prediction, localisation = torch.stack(predictions).mean(), torch.stack(localisations).mean()
        combined = combined_loss(prediction, localisation, self.recipe.prediction_weight)
        return LossTerms(prediction, localisation, combined, target, tuple(predicted))

    def localise(self, tokens: Float[Tensor, "b k d"], index: Int[Tensor, "b k"], pairs: Pairs) -> Float[Tensor, ""]:
        """Eq. 3 on pairs of tokens, whose places in the grid are `index`."""
        answer = self.head(take(tokens, pairs.first), take(tokens, pairs.second))
        first, second = (torch.take_along_dim(index, slot, dim=1) for slot in pairs)
        return localisation_loss(answer, relative_offset(first, second, self.encoder.grid))

    def _control(
        self, clip: Float[Tensor, "b c T H W"], context: Float[Tensor, "b v d"], mask: Mask, family: int, pairs: Pairs
    ) -> Float[Tensor, ""]:
        """Eq. 3 on other tokens than the paper's, to ask where the answer comes from.

        Predicted without a gradient to the encoder (`detached`) or without an image (`zeroed`); the encoder's own
        context tokens (`context`), or those of a pass without position codes (`placeless`), which only the image tells
        apart.
        """
        match self.recipe.localise:
            case "detached":
                tokens, index = self.predictor(context.detach(), mask, family), mask.target
            case "zeroed":
                tokens, index = self.predictor(torch.zeros_like(context), mask, family), mask.target
            case "context":
                tokens, index = context, mask.context
            case _:
                tokens, index = self.encoder(clip, mask.context, has_positions=False), mask.context
        return self.localise(tokens, index, pairs)
