"""Randomness as a pure function of (seed, stream, step), so that resuming needs no generator's state."""

from enum import IntEnum

import numpy as np
import torch


class Stream(IntEnum):
    """What a random number is for; two streams of one seed never meet."""

    WEIGHTS = 0
    ORDER = 1
    CLIPS = 2
    MASKS = 3
    PAIRS = 4
    PROBE = 5
    TOKENS = 6


def generator(seed: int, stream: Stream, step: int = 0) -> torch.Generator:
    """A CPU generator for one stream at one step."""
    word = np.random.SeedSequence((seed, stream, step)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(word))


def batch_order(seed: int, step: int, *, batch: int, clips: int) -> list[int]:
    """Which clips make up the batch at a step: every epoch runs once through a fresh permutation.

    An epoch's last, incomplete batch is left out.
    """
    per_epoch = clips // batch
    epoch, place = divmod(step, per_epoch)
    order = torch.randperm(clips, generator=generator(seed, Stream.ORDER, epoch))
    chosen: list[int] = order[place * batch : (place + 1) * batch].tolist()
    return chosen
