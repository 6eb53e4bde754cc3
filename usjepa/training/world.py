"""One process, or several that share each batch: what `torchrun` says about them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import distributed

from usjepa.errors import InputError


class World(NamedTuple):
    """Which of `size` processes this is. The first one alone writes files."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def rows(self, batch: int) -> slice:
        """This process's rows of a batch that all of them draw alike. Raises InputError if it does not divide."""
        if batch % self.size:
            raise InputError(f"batch: expected a multiple of the {self.size} processes, got {batch}. Change one.")
        share = batch // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            distributed.barrier()


@contextmanager
def joined(device: torch.device) -> Iterator[World]:
    """The world that `torchrun` made, over gloo on CPUs and NCCL on GPUs; this process alone without it."""
    if "WORLD_SIZE" not in os.environ:
        yield World()
        return
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield World(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()
