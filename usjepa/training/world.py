"""One process, or several that share each batch: what `torchrun` says about them, and how an error reaches them all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, distributed
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from usjepa.errors import InputError

LONGEST_WAIT = timedelta(days=1)
"""For the first process, which may wait for another command to train what this run starts from."""


class World(NamedTuple):
    """Which of `size` processes this is. The first one alone writes files and speaks."""

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

    def all(self, holds: bool) -> bool:
        """Whether it holds in every process; all are waited for."""
        if self.size == 1:
            return holds
        held = torch.tensor(int(holds))
        distributed.all_reduce(held, distributed.ReduceOp.MIN)
        return bool(held)

    def wait(self) -> None:
        """Until all processes are here."""
        self.all(True)

    def mean(self, value: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """The mean of a number over all processes, without a gradient: of equal shares' means, the whole batch's."""
        value = value.detach().clone()
        if self.size > 1:
            distributed.all_reduce(value)
        return value / self.size

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """The first process does what is inside before the others do, so that they find what it has made."""
        if not self.is_first:
            self.wait()
        yield
        if self.is_first:
            self.wait()


@contextmanager
def joined(device: torch.device) -> Iterator[World]:
    """The world that `torchrun` made, over gloo on CPUs, and NCCL besides on GPUs; this process alone without it.

    One process says what went wrong, the others, which may only see that it has gone, then end without a word. Raises
    InputError if there are more processes than GPUs, or for a device with a number.
    """
    if "WORLD_SIZE" not in os.environ:
        yield World()
        return
    if device.index is not None:
        raise InputError(f"device: expected 'cuda', since torchrun gives each process its own, got '{device}'.")
    if device.type == "cuda":
        _take_gpu(int(os.environ["LOCAL_RANK"]))
    shared, rank, size = next(rendezvous("env://"))
    # torchrun's store outlives a restart, and holds the addresses of processes that are gone.
    store = PrefixStore(f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", shared)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, timeout=LONGEST_WAIT, store=store, rank=rank, world_size=size)
    try:
        yield World(rank, size)
    except (InputError, FloatingPointError, KeyboardInterrupt) as error:
        if store.compare_set("told by", "", str(rank)) != str(rank).encode():
            raise SystemExit(2) from error
        raise
    except RuntimeError as error:
        if store.check(["told by"]):
            raise SystemExit(2) from error
        raise
    finally:
        distributed.destroy_process_group()


def _take_gpu(number: int) -> None:
    """Make this GPU the one that `cuda` means in this process."""
    if number >= (present := torch.cuda.device_count()):
        raise InputError(f"--nproc-per-node: expected at most {present}, the GPUs here, got more. Lower it.")
    torch.cuda.set_device(number)
