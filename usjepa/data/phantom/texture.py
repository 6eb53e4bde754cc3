"""Random fields: what makes tissue patchy and grainy."""

import numpy as np
from jaxtyping import Float
from numpy.random import Generator


def texture(rng: Generator, u: Float[np.ndarray, " P"], v: Float[np.ndarray, " P"]) -> Float[np.ndarray, " P"]:
    """A random field of unit deviation at points, in units of its correlation length; repeated after 128 of them.

    Linear between independent values, which keeps two thirds of their deviation.
    """
    grid = rng.standard_normal((128, 128), np.float32)
    row, column = np.floor(u).astype(np.int32), np.floor(v).astype(np.int32)
    u, v = (u - row).astype(np.float32), (v - column).astype(np.float32)
    above, below = (row & 127) << 7, (row + 1 & 127) << 7
    left, right = column & 127, column + 1 & 127
    flat = grid.ravel()
    upper = flat[above + left] * (1 - v) + flat[above + right] * v
    lower = flat[below + left] * (1 - v) + flat[below + right] * v
    return np.asarray(1.5 * (upper * (1 - u) + lower * u), np.float64)
