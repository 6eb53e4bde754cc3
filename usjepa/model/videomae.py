"""VideoMAE, the other pre-training of Table 2: hide nine tubes of ten, predict their pixels (MCG-NJU/VideoMAE)."""

import math
from typing import NamedTuple

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from usjepa.model.encoder import Encoder, LayerNorm, blocks_of, codes_of, initialise_, tubelet_of
from usjepa.model.masking import Mask
from usjepa.model.tokens import TokenGrid, Tubelet, take, tubelets
from usjepa.recipe import VideoMAERecipe

# The published 1e-6 is for pixels in [0, 1]; the encoder's are divided by ImageNet's deviation, 0.224 to 0.229.
EPSILON = 1e-6 / 0.225


class PixelTerms(NamedTuple):
    """The loss of a batch, and the pixels of its hidden tokens that it was measured against."""

    combined: Float[Tensor, ""]
    target: Float[Tensor, "b m p"]


def normalised_pixels(clip: Float[Tensor, "b c T H W"], tubelet: Tubelet) -> Float[Tensor, "b n p"]:
    """Pixels of each token, each colour with mean 0 and (unbiased) deviation 1; `p`: frame, row, column, colour.

    Takes the clip as the encoder does: what a channel was scaled by and shifted by cancels.
    """
    pixels = rearrange(tubelets(clip, tubelet), "b n (c k) -> b n k c", c=clip.shape[1])
    deviation, mean = torch.std_mean(pixels, dim=2, keepdim=True)
    return rearrange((pixels - mean) / (deviation + EPSILON), "b n k c -> b n (k c)")


class Decoder(nn.Module):
    """From the context's features and the places of the hidden tokens to their pixels: a transformer and a linear map.

    Positions are a buffer that is not saved: published files hold none.
    """

    pos_embed: Tensor

    def __init__(self, recipe: VideoMAERecipe, grid: TokenGrid) -> None:
        super().__init__()
        model, width = recipe.model, recipe.decoder.width
        self.embed = nn.Linear(model.width, width, bias=False)
        self.mask_token = nn.Parameter(torch.empty(1, 1, width))
        self.register_buffer("pos_embed", codes_of(model, grid, width), persistent=False)
        self.blocks = blocks_of(width, recipe.decoder.depth, recipe.decoder.heads)
        self.norm = LayerNorm(width)
        self.head = nn.Linear(width, recipe.clip.channels * math.prod(tubelet_of(model)))
        initialise_(self, model.init_std)
        nn.init.trunc_normal_(self.mask_token, std=0.02)

    def forward(self, context: Float[Tensor, "b v d"], mask: Mask) -> Float[Tensor, "b m p"]:
        """Predicted pixels of `mask.target`, in its order, normalised as `normalised_pixels` does."""
        positions = self.pos_embed.expand(len(context), -1, -1)
        seen = self.embed(context) + take(positions, mask.context)
        clips, targets = mask.target.shape
        hidden = repeat(self.mask_token, "1 1 e -> b m e", b=clips, m=targets) + take(positions, mask.target)
        tokens = torch.cat((seen, hidden), dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        pixels: Tensor = self.head(self.norm(tokens[:, -targets:]))
        return pixels


class VideoMAE(nn.Module):
    """Encoder and decoder; the encoder sees the context only, and is what is kept."""

    def __init__(self, recipe: VideoMAERecipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.encoder = Encoder(recipe.model, recipe.clip)
        self.encoder.freeze_(recipe.frozen_blocks)
        self.decoder = Decoder(recipe, self.encoder.grid)

    @property
    def trained(self) -> dict[str, nn.Module]:
        """The parts that a gradient moves."""
        return {"encoder": self.encoder, "decoder": self.decoder}

    def forward(self, clip: Float[Tensor, "b c T H W"], mask: Mask) -> PixelTerms:
        """Mean squared error of the hidden tokens' normalised pixels."""
        target = take(normalised_pixels(clip, tubelet_of(self.recipe.model)), mask.target)
        predicted = self.decoder(self.encoder(clip, mask.context), mask)
        return PixelTerms(functional.mse_loss(predicted, target), target)
