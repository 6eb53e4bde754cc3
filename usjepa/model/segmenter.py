"""What judges a frozen encoder: an attentive probe and two transposed convolutions (section 3.1)."""

import math

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from usjepa.model.encoder import LayerNorm, grid_of
from usjepa.model.tokens import take
from usjepa.recipe import SegmentRecipe
from usjepa.structures import STRUCTURES


class Standardiser(nn.Module):
    """Features to zero mean and unit deviation a dimension, from the training tokens' own statistics.

    Without it a probe measures how well conditioned an encoder's output is, not what is in it.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))

    def fit_(self, features: Float[Tensor, "b n d"]) -> None:
        """Take the statistics of these features."""
        self.deviation, self.mean = torch.std_mean(features.float(), dim=(0, 1))

    def forward(self, features: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """The features, standardised."""
        return (features - self.mean) / (self.deviation + 1e-6)


class AttentiveProbe(nn.Module):
    """One block of cross-attention from every place of the grid to all tokens.

    V-JEPA's probe has one query and pools a clip to a vector; a grid needs a query a place: here a learnt position
    query plus the place's own feature.
    """

    def __init__(self, tokens: int, width: int, heads: int) -> None:
        super().__init__()
        self.norm_in = LayerNorm(width)
        self.position_queries = nn.Parameter(0.02 * torch.randn(1, tokens, width))
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm_mlp = LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.norm_out = LayerNorm(width)

    def forward(
        self, features: Float[Tensor, "b n d"], places: Int[Tensor, "b m"] | None = None
    ) -> Float[Tensor, "b m d"]:
        """What these places of the grid, or all, have read from all tokens."""
        tokens = self.norm_in(features)
        queries = tokens + self.position_queries
        if places is not None:
            queries = take(queries, places)
        attended, _ = self.attention(queries, tokens, tokens, need_weights=False)
        read = queries + attended
        probed: Tensor = self.norm_out(read + self.mlp(self.norm_mlp(read)))
        return probed


class Segmenter(nn.Module):
    """Frozen features to a class a pixel. Both convolutions have kernel = stride, so that they undo the tubelet.

    For a patch of 16 the strides are (2, 4, 4) then (1, 4, 4), for one of 4 (2, 2, 2) then (1, 2, 2).
    """

    def __init__(self, recipe: SegmentRecipe) -> None:
        super().__init__()
        model = recipe.start.model
        self.grid = grid_of(recipe.clip, model)
        self.standardise = Standardiser(model.width)
        self.probe = AttentiveProbe(self.grid.n, model.width, model.heads)
        first = 2 ** math.ceil(math.log2(model.patch_px) / 2)
        in_time, second = (model.tubelet_frames, first, first), (1, model.patch_px // first, model.patch_px // first)
        self.decoder = nn.Sequential(
            nn.ConvTranspose3d(model.width, recipe.decoder_width, kernel_size=in_time, stride=in_time),
            nn.GELU(),
            nn.ConvTranspose3d(recipe.decoder_width, len(STRUCTURES), kernel_size=second, stride=second),
        )

    def forward(self, features: Float[Tensor, "b n d"]) -> Float[Tensor, "b s T H W"]:
        """Logits of the structures (background, LV endo, LV epi, LA) at every pixel of every frame."""
        tokens = self.probe(self.standardise(features))
        t, i, j = self.grid
        logits: Tensor = self.decoder(rearrange(tokens, "b (t i j) d -> b d t i j", t=t, i=i, j=j))
        return logits

    def at(
        self, features: Float[Tensor, "b n d"], places: Int[Tensor, "b m"] | None = None
    ) -> Float[Tensor, "b m s p"]:
        """The same logits of the tokens at `places`, or of all, `p` over a tubelet's frame, row and column.

        A token's pixels come from it alone, so the tokens are set in one row and no others are decoded.
        """
        tokens = self.probe(self.standardise(features), places)
        row: Tensor = self.decoder(rearrange(tokens, "b m d -> b d 1 1 m"))
        return rearrange(row, "b s pt ph (m pw) -> b m s (pt ph pw)", m=tokens.shape[1])
