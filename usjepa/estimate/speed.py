"""How fast a device multiplies matrices of a model's own sizes, in the precision of training."""

import time

import torch

# Of the rate of one large product, what a whole step reaches: the rest goes to attention, norms, GELU, optimiser, EMA.
EFFICIENCY = 0.6


def product_rate(rows: int, width: int, device: torch.device, seconds: float = 1.0) -> float:
    """FLOP/s of (rows x width) times (width x 4 width), the MLP's first map, measured for about so long.

    bfloat16 on CUDA, float32 elsewhere, as in training.
    """
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    left = torch.ones(rows, width, dtype=dtype, device=device)
    right = torch.ones(width, 4 * width, dtype=dtype, device=device)
    _multiply(left, right, times=1)
    times = 1
    while (elapsed := _multiply(left, right, times)) < seconds / 2:
        times *= 2
    return times * 8 * rows * width**2 / elapsed


def _multiply(left: torch.Tensor, right: torch.Tensor, times: int) -> float:
    """Seconds of so many products, the device waited for at the end."""
    started = time.perf_counter()
    for _ in range(times):
        product = left @ right
    if product.device.type == "cuda":
        torch.cuda.synchronize(product.device)
    return time.perf_counter() - started
