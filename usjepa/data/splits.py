"""Who trains and who tests: nested shares of the patients, and proof that nobody does both."""

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

import numpy as np

from usjepa.errors import InputError

FRACTIONS = (1.0, 0.5, 0.2, 0.1)
"""Shares of the training data in Table 2."""


@runtime_checkable
class Assigned(Protocol):
    """Anything that belongs to a patient and a split, as sequences and a store's entries do."""

    @property
    def patient(self) -> str:
        """Whose it is."""
        ...

    @property
    def split(self) -> str:
        """What it is used for."""
        ...


def nested_fractions(
    patients: Iterable[str], *, draw: int, seed: int, fractions: tuple[float, ...] = FRACTIONS
) -> dict[float, tuple[str, ...]]:
    """Patients of each fraction, sorted, every smaller fraction inside the larger ones.

    One random order for each pair of seed and draw is cut after the nearest whole number of patients, at least one;
    it does not depend on the order or repetition of `patients`. The paper says neither whether it drew patients or
    clips nor how often. Raises InputError for no patient, or a fraction outside (0, 1].
    """
    names = sorted(set(patients))
    if not names:
        raise InputError("patients: expected at least one to draw from, got none. Choose a split that has some.")
    if draw < 0 or seed < 0:
        raise InputError(f"draw, seed: expected numbers from 0, got {draw} and {seed}. Raise them.")
    if not fractions or not all(0 < fraction <= 1 for fraction in fractions):
        raise InputError(f"fractions: expected shares above 0 and up to 1, got {fractions}. Correct them.")
    order = np.random.default_rng((seed, draw)).permutation(len(names))
    return {
        fraction: tuple(names[k] for k in sorted(order[: max(1, round(fraction * len(names)))].tolist()))
        for fraction in fractions
    }


def check_leakage(entries: Iterable[Assigned]) -> None:
    """Raise InputError, naming patient and splits, if anything of one patient lies in two splits."""
    splits: dict[str, str] = {}
    for entry in entries:
        first = splits.setdefault(entry.patient, entry.split)
        if first != entry.split:
            raise InputError(
                f"{entry.patient}: expected one split a patient, got {first} and {entry.split}. Correct the lists."
            )
