import math

import pytest
import torch

from usjepa.training.device import adamw
from usjepa.training.schedules import cosine, set_rates_, warmup_cosine


def rate(step: int) -> float:
    return warmup_cosine(step, steps=300, warmup=20, peak=2e-4, final=1e-6)


def test_the_rate_rises_linearly_to_its_peak_and_falls_to_its_end() -> None:
    assert rate(0) == pytest.approx(2e-4 / 20)
    assert rate(9) == pytest.approx(1e-4)
    assert rate(19) == pytest.approx(2e-4)
    assert rate(299) == pytest.approx(1e-6)
    assert all(rate(step) > rate(step + 1) for step in range(19, 299))


def test_half_way_down_the_cosine_is_the_middle() -> None:
    assert cosine(0.5, start=3.0, final=1.0) == pytest.approx(2.0)
    assert cosine(0.25, start=1.0, final=0.0) == pytest.approx(0.5 + math.sqrt(0.125))


def test_without_warm_up_the_first_step_has_almost_the_peak() -> None:
    assert warmup_cosine(0, steps=1000, warmup=0, peak=1.0, final=0.0) == pytest.approx(1.0, abs=1e-5)


def test_biases_and_norms_do_not_decay() -> None:
    optimiser = adamw(torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.LayerNorm(3)))
    set_rates_(optimiser, rate=0.5, weight_decay=0.1)
    decays = {id(weight): group["weight_decay"] for group in optimiser.param_groups for weight in group["params"]}
    assert sorted(decays.values()) == [0.0, 0.0, 0.0, 0.1]
    assert all(group["lr"] == 0.5 for group in optimiser.param_groups)
