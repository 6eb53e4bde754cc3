"""The paired differences that claims of the paper rest on."""

from itertools import product
from typing import NamedTuple, TypeAlias

from usjepa.evaluation.paper import METHODS, PAIRS, TABLE_1_LAMBDAS
from usjepa.results.plan import PLANS

LEAST, MOST, BOTH, ALL = (0.1,), (1.0,), (1.0, 0.1), (1.0, 0.5, 0.2, 0.1)
ADAPTED = tuple(METHODS)[2:]
"""The six rows with V-JEPA pre-training."""
DETACHED = "ll-detached"
"""The localisation loss with its gradient kept from the encoder."""
Cell: TypeAlias = tuple[str, float]
"""A row at a share of the labels."""


class Contrast(NamedTuple):
    """One row's score minus another's, at a share of the labels; `sign` is that of the difference claimed.

    With `less_at` it is a difference of differences: how much more at `fraction` than at `less_at`. Rows are the
    catalogue's, "vjepa-ll" and "vjepa" standing for lambda 0.25 and 1 in Table 1 too.
    """

    ours: str
    base: str
    fraction: float
    metric: str = "dsc"
    split: str = "test"
    sign: int = 1
    less_at: float | None = None

    @property
    def label(self) -> str:
        """For people."""
        further = "" if self.less_at is None else f" more than at {self.less_at:.0%}"
        return (
            f"{self.metric} of {self.ours} less {self.base}, {self.fraction:.0%} of the labels{further}, {self.split}"
        )


def crossed(
    ours: tuple[str, ...], bases: tuple[str, ...], fractions: tuple[float, ...], metric: str = "dsc", sign: int = 1
) -> tuple[Contrast, ...]:
    """Each of `ours` against each other row of `bases`."""
    return tuple(
        Contrast(one, base, fraction, metric, sign=sign)
        for fraction, one, base in product(fractions, ours, bases)
        if one != base
    )


def with_loss(
    fractions: tuple[float, ...], metric: str = "dsc", *, sign: int = 1, less_at: float | None = None
) -> tuple[Contrast, ...]:
    """Each configuration with the localisation loss against the same without."""
    return tuple(
        Contrast(ours, base, fraction, metric, sign=sign, less_at=less_at)
        for fraction, (base, ours) in product(fractions, PAIRS.items())
    )


def lambdas(fractions: tuple[float, ...]) -> tuple[Contrast, ...]:
    """Lambda 0.25 against the other columns of Table 1, on validation patients."""
    others = [weight for weight in TABLE_1_LAMBDAS if weight != 0.25]
    return tuple(
        Contrast(ours, f"{base}-lambda{weight:g}", fraction, split="validation")
        for fraction, (base, ours), weight in product(fractions, PAIRS.items(), others)
    )


def explaining(pairs: tuple[tuple[str, str], ...]) -> tuple[Contrast, ...]:
    """Rows that explain rather than compete: judged on validation patients, with all and with a tenth of the labels."""
    return tuple(Contrast(ours, base, fraction, split="validation") for (ours, base), fraction in product(pairs, BOTH))


def cells_of(contrast: Contrast) -> list[Cell]:
    """The rows that a contrast needs."""
    shares = [share for share in (contrast.fraction, contrast.less_at) if share is not None]
    return [(row, share) for row in (contrast.ours, contrast.base) for share in shares]


def null_of(contrast: Contrast) -> Contrast:
    """The same of a pair that can't differ by what the encoder learns of the localisation loss: its noise."""
    return contrast._replace(ours=DETACHED, base="vjepa", fraction=_controlled(contrast.fraction))


def controls_of(contrast: Contrast) -> dict[str, Cell]:
    """What has to stand beside any contrast with the localisation loss (the stop rule); nothing for others."""
    rows = (contrast.ours, contrast.base)
    if not any(row.endswith("-ll") or "-lambda" in row or row.startswith("ll-") for row in rows):
        return {}
    plain = contrast.ours.removesuffix("-ll")
    share = contrast.fraction
    return {"random": ("random", share), "lambda_1": (plain, share), "detached": (DETACHED, _controlled(share))}


def _controlled(fraction: float) -> float:
    """A share of the labels at which controls are run: this one or, between them, the smallest, where noise is most."""
    known = PLANS["controls"].fractions
    return fraction if fraction in known else min(known)
