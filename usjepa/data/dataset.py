"""A prepared store as a data set of PyTorch, for a training loop of one's own."""

from collections.abc import Sequence
from typing import NamedTuple

from jaxtyping import Float, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from usjepa.data.clips import whole_clips, whole_labels
from usjepa.data.store import Entry, Store
from usjepa.spec import ClipSpec


class Example(NamedTuple):
    """One clip, normalised, its label maps, and its video's name."""

    clip: Float[Tensor, "c T H W"]
    labels: UInt8[Tensor, "T H W"]
    name: str


class ClipDataset(Dataset[Example]):
    """The un-augmented clip of each entry, from its first frame; labels are 0 where there are none.

    Reading from the memory-mapped store takes milliseconds: `num_workers=0` suffices. Raises InputError if the
    store's size is not the spec's.
    """

    def __init__(self, store: Store, entries: Sequence[Entry], spec: ClipSpec) -> None:
        self.store, self.entries, self.spec = store, tuple(entries), spec
        whole_labels(store, self.entries[:1], spec)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Example:
        entry = self.entries[index]
        (clip,), (labels,) = (of(self.store, [entry], self.spec) for of in (whole_clips, whole_labels))
        return Example(clip, labels, entry.name)
