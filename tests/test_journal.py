import warnings
from dataclasses import replace

import pytest
import torch

from usjepa.recipe import PretrainRecipe, SegmentRecipe, VideoMAERecipe
from usjepa.spec import DecoderSpec
from usjepa.training import pretrain as loop
from usjepa.training.journal import Stopwatch, announce_collapse, distance, norms_of, row_of
from usjepa.training.learners import Batch, draw_step, new_learner
from usjepa.training.pretrain import pretrain
from usjepa.training.runs import open_run
from usjepa.training.workspace import Workspace


@pytest.fixture
def batch(generator: torch.Generator) -> torch.Tensor:
    return torch.randn(3, 1, 4, 16, 16, generator=generator)


def test_the_two_terms_gradients_add_up_to_the_one_that_trains(micro: SegmentRecipe, batch: torch.Tensor) -> None:
    """At lambda 1 the ledger's norm of Eq. 1 is that of the training gradient, and at 0 that of Eq. 3."""
    for weight, term in ((1.0, "prediction"), (0.0, "localisation")):
        learner = new_learner(replace(micro.start, prediction_weight=weight))
        draws = draw_step(learner, 0)
        row = row_of(learner, Batch(batch, draws))
        assert all(part.grad is None for part in learner.parameters())
        learner(batch, draws).combined.backward()
        for name, part in learner.trained.items():
            gradients = [one.grad for one in part.parameters() if one.grad is not None]
            norm = float(torch.nn.utils.get_total_norm(gradients))
            assert row[f"{term}_at_{name}"] == pytest.approx(norm, rel=1e-5), (term, name)


def test_a_row_says_all_that_a_reader_of_the_log_needs(micro: SegmentRecipe, batch: torch.Tensor) -> None:
    learner = new_learner(micro.start)
    row = row_of(learner, Batch(batch, draw_step(learner, 0)))
    assert row["distance"] == 0
    assert row["cosine"] == pytest.approx(0, abs=0.5)
    assert row["content_spread"] < row["spread"]
    assert 1 < row["rank"] <= 24
    assert 0.2 < row["chance"] < 0.7
    assert row["prediction_at_head"] == 0 < row["localisation_at_head"]


def test_chance_is_that_of_the_tokens_that_eq_3_sees(micro: SegmentRecipe, batch: torch.Tensor) -> None:
    rows = {}
    for localise in ("predicted", "context"):
        learner = new_learner(replace(micro.start, localise=localise))
        rows[localise] = row_of(learner, Batch(batch, draw_step(learner, 0)))
    assert rows["predicted"]["chance"] != rows["context"]["chance"]
    assert rows["predicted"]["prediction"] == rows["context"]["prediction"]


def test_frozen_parts_have_no_gradient_and_no_error(micro: SegmentRecipe, batch: torch.Tensor) -> None:
    learner = new_learner(replace(micro.start, frozen_blocks=3))
    row = row_of(learner, Batch(batch, draw_step(learner, 0)))
    assert row["prediction_at_encoder"] == 0 < row["prediction_at_predictor"]


def test_distance_is_relative_to_the_students_weights(generator: torch.Generator) -> None:
    student, teacher = torch.nn.Linear(5, 5), torch.nn.Linear(5, 5)
    teacher.load_state_dict({name: 1.5 * weight for name, weight in student.state_dict().items()})
    assert distance(teacher, student) == pytest.approx(0.5)


def test_norms_of_nothing_are_zero() -> None:
    frozen = torch.nn.Linear(2, 2).requires_grad_(False)
    moved = torch.nn.Linear(2, 2)
    terms = norms_of(moved(torch.ones(1, 2)).sum(), {"frozen": frozen, "moved": moved})
    assert terms.norms["frozen"] == 0 < terms.norms["moved"]


def test_a_collapse_is_announced_when_it_happens(micro: SegmentRecipe, space: Workspace, monkeypatch) -> None:
    """Features that are the same for every token: what a student that teaches itself ends in."""
    follow_ = loop.follow_

    def collapsing(learner, step):
        follow_(learner, step)
        if step == 5:
            learner.teacher.norm.weight.data.mul_(1e-4)
            learner.teacher.norm.bias.data.copy_(torch.linspace(-1, 1, 24))

    monkeypatch.setattr(loop, "follow_", collapsing)
    slow = replace(micro.start, momentum=(1.0, 1.0))
    with pytest.warns(UserWarning, match=r"step 6: the features have collapsed: spread 0\.0"):
        pretrain(slow, space)
    log = open_run(slow, space).log()
    assert (log["spread"] < 0.15).tolist() == (log["step"] > 5).tolist()


def test_a_healthy_run_is_not_announced() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        announce_collapse(3, 0.3, 0.5)
        announce_collapse(4, 0.1, 0.1)


def test_videomae_logs_its_pixels_and_the_same_measures(micro: SegmentRecipe, batch: torch.Tensor) -> None:
    start = micro.start
    assert isinstance(start, PretrainRecipe)
    recipe = VideoMAERecipe(
        clip=start.clip, model=start.model, decoder=DecoderSpec(width=16, depth=1, heads=2), mask_ratio=0.75, batch=3
    )
    learner = new_learner(recipe)
    row = row_of(learner, Batch(batch, draw_step(learner, 0)))
    assert set(row) == {"pixels", "pixels_at_encoder", "pixels_at_decoder", "spread", "content_spread", "rank"}
    assert min(row.values()) > 0


def test_a_stopwatch_that_is_off_measures_nothing() -> None:
    on, off = (Stopwatch(torch.device("cpu"), is_on=is_on) for is_on in (True, False))
    for watch in (on, off):
        watch.lap("data")
        watch.lap("forward")
    assert set(on.laps) == {"ms_data", "ms_forward"}
    assert not off.laps
