"""A step that is not finite is never taken, and nobody waits for the device to know it."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import AdamW


class Guard:
    """Watches losses and gradients on the device; what it finds stays found.

    From a bad step on, fused AdamW takes no more steps: it heeds `found_inf` as it does under a gradient scaler.
    """

    def __init__(self, optimiser: AdamW, device: torch.device) -> None:
        self.found = torch.zeros((), device=device)
        self.step = torch.full((), -1, device=device)
        self.names: tuple[str, ...] = ()
        self.values = torch.zeros(0, device=device)
        optimiser.found_inf = self.found  # type: ignore[attr-defined]

    def watch(self, step: int, values: dict[str, Float[Tensor, ""]]) -> None:
        """Look at a step's loss and gradient norms before the optimiser does."""
        seen = torch.stack(list(values.values())).float().detach()
        self.values = torch.where(self.found > 0, self.values, seen) if self.names else seen
        self.names = tuple(values)
        bad = ~torch.isfinite(seen).all()
        self.step = torch.where((self.found == 0) & bad, step, self.step)
        self.found.logical_or_(bad)

    def check(self) -> None:
        """Raise FloatingPointError, naming the step, if anything was not finite. Waits for the device."""
        if self.found > 0:
            values = zip(self.names, self.values.tolist(), strict=True)
            wrong = ", ".join(f"{name} {value}" for name, value in values if not torch.isfinite(torch.tensor(value)))
            raise FloatingPointError(
                f"step {int(self.step)}: not finite: {wrong}. The step was not taken and the last checkpoint is "
                "intact; lower rate_peak, or look at the clips."
            )
