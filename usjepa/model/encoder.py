"""The video ViT: tubelets by a strided convolution, fixed positions, timm's blocks, tokens dropped before them."""

import math
from functools import partial
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float, Int
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from usjepa.errors import InputError
from usjepa.model.tokens import TokenGrid, Tubelet, coordinates, take, token_grid
from usjepa.spec import ClipSpec, ModelSpec

LayerNorm = partial(nn.LayerNorm, eps=1e-6)


def grid_of(clip: ClipSpec, model: ModelSpec) -> TokenGrid:
    """The token grid that this model makes of these clips. Raises InputError if a side does not divide."""
    return token_grid(clip.frames, clip.size_px, clip.size_px, tubelet_of(model))


def tubelet_of(model: ModelSpec) -> Tubelet:
    """Extent of one token of this model."""
    return Tubelet(model.tubelet_frames, model.patch_px, model.patch_px)


def position_codes(grid: TokenGrid, width: int) -> Float[Tensor, "n d"]:
    """Fixed sine and cosine codes of (t, i, j), as V-JEPA's `uniform_power`: a third of the width an axis.

    Each axis has 2 ceil(width / 6) columns, sines then cosines of falling frequency; the sum is cut to the width.
    """
    half = math.ceil(width / 6)
    frequencies = 10_000 ** (-torch.arange(half, dtype=torch.float64) / half)
    angles = rearrange(coordinates(torch.arange(grid.n), grid).double(), "n a -> n a 1") * frequencies
    codes = torch.stack((angles.sin(), angles.cos()), dim=2)
    return rearrange(codes, "n a s k -> n (a s k)")[:, :width].float()


def raster_codes(grid: TokenGrid, width: int) -> Float[Tensor, "n d"]:
    """Fixed sine and cosine codes of the token's number alone, as VideoMAE's: sine and cosine in turn.

    Column j has the angle n / 10000^(2 (j // 2) / width) (MCG-NJU/VideoMAE, modeling_finetune.py).
    """
    frequencies = 10_000 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = rearrange(torch.arange(grid.n), "n -> n 1") * frequencies
    return rearrange(torch.stack((angles.sin(), angles.cos()), dim=2), "n k s -> n (k s)").float()


def codes_of(model: ModelSpec, grid: TokenGrid, width: int) -> Float[Tensor, "1 n d"]:
    """The model's kind of position codes for tokens of this width: of (t, i, j), or of the token's number."""
    codes = position_codes if model.positions == "3d" else raster_codes
    return rearrange(codes(grid, width), "n d -> 1 n d")


def blocks_of(width: int, depth: int, heads: int) -> nn.ModuleList:
    """Pre-norm transformer blocks, MLP four times as wide, exact GELU."""
    norm: Any = LayerNorm
    return nn.ModuleList(Block(width, heads, mlp_ratio=4, qkv_bias=True, norm_layer=norm) for _ in range(depth))


def initialise_(module: nn.Module, std: float | None) -> None:
    """Start every linear map: truncated normal of `std` as published, or Xavier-uniform if None; biases at zero.

    0.02 suits a width of 768 and more; at a width of 64 it drowns the image in the position codes.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv3d):
            matrix = rearrange(part.weight, "d ... -> d (...)")
            _ = nn.init.xavier_uniform_(matrix) if std is None else nn.init.trunc_normal_(matrix, std=std)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


class TubeletEmbedding(nn.Module):
    """One linear map of each tubelet, written as a convolution whose stride is its kernel."""

    def __init__(self, channels: int, width: int, tubelet: Tubelet) -> None:
        super().__init__()
        self.proj = nn.Conv3d(channels, width, kernel_size=tubelet, stride=tubelet)

    def forward(self, clip: Float[Tensor, "b c T H W"]) -> Float[Tensor, "b n d"]:
        """Embed a clip's tubelets in raster order."""
        embedded: Tensor = rearrange(self.proj(clip), "b d t i j -> b (t i j) d")
        return embedded


class Encoder(nn.Module):
    """E of section 2.1. Names of the parameters are V-JEPA's, so that published weights need no translation."""

    pos_embed: Tensor

    def __init__(self, model: ModelSpec, clip: ClipSpec) -> None:
        super().__init__()
        self.grid, self.heads = grid_of(clip, model), model.heads
        self.patch_embed = TubeletEmbedding(clip.channels, model.width, tubelet_of(model))
        self.register_buffer("pos_embed", codes_of(model, self.grid, model.width))
        self.blocks = blocks_of(model.width, model.depth, model.heads)
        self.norm = LayerNorm(model.width)
        initialise_(self, model.init_std)

    def forward(
        self, clip: Float[Tensor, "b c T H W"], keep: Int[Tensor, "b k"] | None = None, *, has_positions: bool = True
    ) -> Float[Tensor, "b k d"]:
        """Features of the tokens at `keep`, or of all. The others are dropped *before* attention: never seen.

        Without position codes, for a control of Eq. 3, nothing but the image says where a token is. Raises
        InputError for a clip whose token grid is not the encoder's.
        """
        tokens = self.patch_embed(clip)
        if tokens.shape[1] != self.grid.n:
            raise InputError(
                f"clip: expected {self.grid.n} tokens, {self.grid}; got {tokens.shape[1]}. Resize the clip."
            )
        if has_positions:
            tokens = tokens + self.pos_embed
        if keep is not None:
            tokens = take(tokens, keep)
        for block in self.blocks:
            tokens = block(tokens)
        features: Tensor = self.norm(tokens)
        return features

    def freeze_(self, blocks: int) -> None:
        """Stop the gradient of the tubelet embedding and of the first `blocks` blocks (section 4: 12b, 16b).

        Zero freezes nothing; all of them freeze the final norm too. Raises InputError for more blocks than there are.
        """
        if not 0 <= blocks <= len(self.blocks):
            raise InputError(f"frozen_blocks: expected 0 to {len(self.blocks)}, got {blocks}. Lower it.")
        frozen = [self.patch_embed, *self.blocks[:blocks]] if blocks else []
        for part in [*frozen, self.norm] if blocks == len(self.blocks) else frozen:
            part.requires_grad_(False)
