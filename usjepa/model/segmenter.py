"""What judges a frozen encoder: an attentive probe and two transposed convolutions (section 3.1)."""

import math

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from usjepa.model.encoder import LayerNorm, grid_of, tubelet_of
from usjepa.model.tokens import take, untubelets
from usjepa.recipe import SegmentRecipe
from usjepa.spec import ModelSpec
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


class TokenDecoder(nn.Module):
    """Two transposed convolutions (section 3.1) with kernel = stride: a token's pixels come from that token alone.

    So they are two linear maps of each token, and written as such: any tokens can be decoded without the others. For
    a patch of 16 the strides are (2, 4, 4) then (1, 4, 4), for one of 4 (2, 2, 2) then (1, 2, 2).
    """

    def __init__(self, model: ModelSpec, width: int) -> None:
        super().__init__()
        side = 2 ** math.ceil(math.log2(model.patch_px) / 2)
        first, second = (model.tubelet_frames, side, side), (1, model.patch_px // side, model.patch_px // side)
        self.first = nn.ConvTranspose3d(model.width, width, kernel_size=first, stride=first)
        self.second = nn.ConvTranspose3d(width, len(STRUCTURES), kernel_size=second, stride=second)

    def forward(self, tokens: Float[Tensor, "b m d"]) -> Float[Tensor, "b m s p"]:
        """Logits of the structures at each pixel of a token's tubelet, `p` over its frame, row and column."""
        first, second = self.first, self.second
        assert first.bias is not None
        assert second.bias is not None
        t, h, v = first.kernel_size
        z, x, y = second.kernel_size
        wide = rearrange(
            tokens @ rearrange(first.weight, "d w t h v -> d (t h v w)"), "b m (k w) -> b m k w", k=t * h * v
        )
        coarse = functional.gelu(wide + first.bias.to(wide.dtype))
        fine = coarse @ rearrange(second.weight, "w s z x y -> w (s z x y)")
        logits = rearrange(fine, "b m (t h v) (s z x y) -> b m s (t z h x v y)", t=t, h=h, v=v, z=z, x=x, y=y)
        return logits + rearrange(second.bias, "s -> s 1").to(logits.dtype)


class Segmenter(nn.Module):
    """Frozen features to a class a pixel: standardised, read by the attentive probe, decoded a token."""

    def __init__(self, recipe: SegmentRecipe) -> None:
        super().__init__()
        model = recipe.start.model
        self.grid, self.tubelet = grid_of(recipe.clip, model), tubelet_of(model)
        self.standardise = Standardiser(model.width)
        self.probe = AttentiveProbe(self.grid.n, model.width, model.heads)
        self.decoder = TokenDecoder(model, recipe.decoder_width)

    def forward(self, features: Float[Tensor, "b n d"]) -> Float[Tensor, "b s T H W"]:
        """Logits of the structures (background, LV endo, LV epi, LA) at every pixel of every frame."""
        logits = rearrange(self.at(features), "b n s p -> b n (s p)")
        return untubelets(logits, self.grid, self.tubelet)

    def at(
        self, features: Float[Tensor, "b n d"], places: Int[Tensor, "b m"] | None = None
    ) -> Float[Tensor, "b m s p"]:
        """The same of the tokens at `places` only, `p` as `usjepa.tubelets` has it; None is all tokens in order."""
        logits: Tensor = self.decoder(self.probe(self.standardise(features), places))
        return logits
