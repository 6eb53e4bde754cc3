import copy

import pytest
import torch
from torch.nn import functional

from usjepa.model.encoder import Encoder
from usjepa.model.teacher import ema_momentum, ema_update_, make_teacher, target_features
from usjepa.recipe import SegmentRecipe


@pytest.fixture
def student(micro: SegmentRecipe) -> Encoder:
    torch.manual_seed(0)
    return Encoder(micro.start.model, micro.clip)


def test_the_teacher_starts_as_a_copy_that_is_not_trained(student: Encoder) -> None:
    teacher = make_teacher(student)
    assert not any(weight.requires_grad for weight in teacher.parameters())
    for slow, fast in zip(teacher.parameters(), student.parameters(), strict=True):
        assert torch.equal(slow, fast)
        assert slow.data_ptr() != fast.data_ptr()


def test_k_updates_have_the_closed_form(student: Encoder) -> None:
    """After k updates towards a fixed student: m^k start + (1 - m^k) student."""
    teacher = make_teacher(student)
    start = copy.deepcopy(teacher)
    with torch.no_grad():
        for weight in student.parameters():
            weight.add_(torch.randn_like(weight))
    for _ in range(5):
        ema_update_(teacher, student, 0.9)
    for slow, old, fast in zip(teacher.parameters(), start.parameters(), student.parameters(), strict=True):
        torch.testing.assert_close(slow, 0.9**5 * old + (1 - 0.9**5) * fast, atol=1e-5, rtol=1e-5)


def test_a_teacher_from_elsewhere_follows_the_frozen_blocks_too(student: Encoder) -> None:
    student.freeze_(len(student.blocks))
    teacher = make_teacher(student)
    with torch.no_grad():
        for weight in teacher.parameters():
            weight.add_(torch.randn_like(weight))
    for _ in range(60):
        ema_update_(teacher, student, 0.5)
    for slow, fast in zip(teacher.parameters(), student.parameters(), strict=True):
        torch.testing.assert_close(slow, fast)


@pytest.mark.parametrize(("step", "expected"), [(0, 0.998), (45_000, 0.999), (90_000, 1.0)])
def test_momentum_rises_linearly(step: int, expected: float) -> None:
    assert ema_momentum(step, 90_000, 0.998, 1.0) == pytest.approx(expected, abs=1e-12)


def test_targets_are_normalised_features_without_gradient(student: Encoder) -> None:
    clip = torch.randn(2, 1, 4, 16, 16)
    target = target_features(student, clip)
    assert not target.requires_grad
    torch.testing.assert_close(target, functional.layer_norm(student(clip), (24,), eps=1e-5))
    torch.testing.assert_close(target.mean(dim=-1), torch.zeros(2, 32), atol=1e-5, rtol=0)
