"""Where and how precisely to compute: CUDA with bfloat16 autocast, or the CPU in float32."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.optim import AdamW

from usjepa.errors import InputError


def choose_device(name: str = "auto") -> torch.device:
    """The device called `name`, or CUDA where there is a card if "auto". Raises InputError if it isn't there."""
    present = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if present else "cpu")
    if name.startswith("cuda") and not present:
        raise InputError(f"device: expected a CUDA GPU for {name!r}, found none. Use 'cpu' or 'auto'.")
    if name != "cpu" and not name.startswith("cuda"):
        raise InputError(f"device: expected 'auto', 'cpu' or 'cuda', got {name!r}. Choose one of them.")
    return torch.device(name)


def autocast(device: torch.device) -> torch.autocast:
    """bfloat16 on CUDA, off elsewhere; bfloat16 has float32's range and needs no gradient scaler."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda")


@contextmanager
def memory_enough(batch: int) -> Iterator[None]:
    """Raise an InputError that says what to lower where the device's memory ends."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        came = ". ".join(str(error).split(". ")[:2])
        raise InputError(
            f"batch: expected {batch} clips a step to fit into the device's memory: {came}. Lower batch in the recipe, "
            "share it among more GPUs with torchrun, or take smaller clips. `usjepa estimate` says what a step needs."
        ) from error


def compile_blocks_(module: nn.Module) -> None:
    """Compile every transformer block in place, once for any number of tokens: minutes once, then faster steps."""
    for part in module.modules():
        if isinstance(part, Block):
            part.compile(dynamic=True)


def clip_(module: nn.Module, most: float | None) -> Float[Tensor, ""]:
    """Scale the gradient of one part to a norm of at most `most`, if given; its norm before, 0 of a frozen part."""
    weights = [weight for weight in module.parameters() if weight.grad is not None]
    if not weights:
        return torch.zeros((), device=next(module.parameters()).device)
    norm = nn.utils.get_total_norm([weight.grad for weight in weights if weight.grad is not None])
    if most is not None:
        nn.utils.clip_grads_with_norm_(weights, most, norm)
    return norm


def adamw(*modules: nn.Module, betas: tuple[float, float] = (0.9, 0.999)) -> AdamW:
    """AdamW over all trained parameters, those of rank 1 and the biases in a group that does not decay."""
    trained = [weight for module in modules for weight in module.parameters() if weight.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [weight for weight in trained if weight.ndim > 1], "decays": True},
        {"params": [weight for weight in trained if weight.ndim <= 1], "decays": False},
    ]
    return AdamW([group for group in groups if group["params"]], betas=betas, fused=True)
