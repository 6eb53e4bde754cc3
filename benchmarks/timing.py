"""Ratios that other work on the machine changes little: what is compared is timed in turns, in one process."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch


def now_s(device: torch.device) -> float:
    """This process's CPU time; with a GPU the clock, all its work waited for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


@dataclass
class Laps:
    """Seconds of the parts of one pass, added up by name."""

    device: torch.device
    seconds: dict[str, float] = field(default_factory=dict)
    last: float = 0.0

    def start(self) -> None:
        self.last = now_s(self.device)

    def end(self, part: str) -> None:
        """The part that ends now."""
        now = now_s(self.device)
        self.seconds[part], self.last = self.seconds.get(part, 0.0) + now - self.last, now


@dataclass(frozen=True)
class Pair:
    """Medians of two pieces of work in milliseconds, and of the ratio of each two neighbours."""

    before_ms: float
    after_ms: float
    ratio: float


def paired(before: Callable[[], object], after: Callable[[], object], repeats: int, device: torch.device) -> Pair:
    """Run both once for nothing, then in turns, who begins alternating."""
    works = (before, after)
    for work in works:
        work()
    times = np.empty((repeats, 2))
    for k in range(repeats):
        for which in (0, 1) if k % 2 else (1, 0):
            start = now_s(device)
            works[which]()
            times[k, which] = now_s(device) - start
    first, second = 1000 * np.median(times, axis=0)
    return Pair(float(first), float(second), float(np.median(times[:, 0] / times[:, 1])))


def peak_mb(work: Callable[[], object], device: torch.device) -> float | None:
    """Most memory that the GPU held during the work; None on a CPU."""
    if device.type != "cuda":
        return None
    torch.cuda.reset_peak_memory_stats(device)
    work()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) / 1e6
