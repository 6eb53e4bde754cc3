"""P of section 2.1: from the context's features and the target's positions to the target's features."""

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

from usjepa.model.encoder import LayerNorm, blocks_of, initialise_, position_codes
from usjepa.model.masking import Mask
from usjepa.model.tokens import TokenGrid, take
from usjepa.spec import ModelSpec


class Predictor(nn.Module):
    """A narrow transformer over the context's tokens and one mask token for each target.

    A mask token is the family's learnt vector plus the target's position code: all that the predictor is told of it.
    """

    pos_embed: Tensor

    def __init__(self, model: ModelSpec, grid: TokenGrid, families: int) -> None:
        super().__init__()
        width = model.predictor_width
        self.embed = nn.Linear(model.width, width)
        self.mask_tokens = nn.ParameterList(torch.zeros(1, 1, width) for _ in range(families))
        self.register_buffer("pos_embed", rearrange(position_codes(grid, width), "n e -> 1 n e"))
        self.blocks = blocks_of(width, model.predictor_depth, model.heads)
        self.norm = LayerNorm(width)
        self.proj = nn.Linear(width, model.width)
        initialise_(self, model.init_std)

    def forward(self, context: Float[Tensor, "b v d"], mask: Mask, family: int) -> Float[Tensor, "b m d"]:
        """Predicted features of `mask.target`, in its order; `family` says which mask token stands for them."""
        positions = self.pos_embed.expand(len(context), -1, -1)
        seen = self.embed(context) + take(positions, mask.context)
        clips, targets = mask.target.shape
        hidden = repeat(self.mask_tokens[family], "1 1 e -> b m e", b=clips, m=targets) + take(positions, mask.target)
        tokens = torch.cat((seen, hidden), dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        predicted: Tensor = self.proj(self.norm(tokens[:, -targets:]))
        return predicted
