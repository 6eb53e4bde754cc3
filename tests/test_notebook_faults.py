"""The assertions of the notebooks can fail: a named fault in the package stops each at the cell that should notice."""

import pytest
from faults import Stop, faulty, stop_of

NO_TEACHER = """
# The student is its own teacher, and the gradient flows into the targets: nothing holds features apart.
import usjepa.model.jepa as module
module.make_teacher = lambda student: student
def with_gradient(teacher, clip, normalises):
    return torch.nn.functional.layer_norm(teacher(clip), (64,), eps=1e-5)
module.target_features = with_gradient
"""
HEAD_NOT_TRAINED = """
# Eq. 4 leaves the localisation term out, so that the head keeps its random start.
import usjepa.model.jepa as module
module.combined_loss = lambda prediction, localisation, prediction_weight: prediction
"""
SHUFFLED_LABELS = """
# Each training film gets another film's outlines: only what all hearts share can still be learned.
import usjepa.training.scoring as module
true_labels = module.whole_labels
def shuffled(store, entries, clip):
    labels = true_labels(store, entries, clip)
    is_training = entries[0].split == "train"
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))] if is_training else labels
module.whole_labels = shuffled
"""
MISREAD_TABLE = """
# One score of Table 2 is read with two digits exchanged: V-JEPA + LL at 20 % seems to gain.
true_scores = uj.paper_scores
def misread():
    scores = true_scores()
    wrong = (scores.table == 2) & (scores.method == "vjepa-ll") & (scores.fraction == 0.2) & (scores.metric == "dsc")
    return scores.assign(mean=scores["mean"].mask(wrong, 0.687))
uj.paper_scores = misread
"""
GAINS_IN_POINTS = """
# The package takes the quoted gains for points.
true_gains = uj.quoted_gains
uj.quoted_gains = lambda: true_gains().assign(least_percent=lambda one: one.points - 0.1)
"""
ROWS_OUTERMOST = """
# Tokens are numbered with rows outermost: shape and round trip stay as they were.
def rows_outermost(clip, tubelet):
    pattern = "b c (t pt) (i ph) (j pw) -> b (i t j) (c pt ph pw)"
    return rearrange(clip, pattern, pt=tubelet.frames, ph=tubelet.rows, pw=tubelet.columns)
uj.tubelets = rows_outermost
"""
COLUMN_BEFORE_ROW = """
# Places come as (t, j, i): on a square grid no shape betrays it.
true_coordinates = uj.coordinates
uj.coordinates = lambda index, grid: true_coordinates(index, grid)[..., [0, 2, 1]]
"""
ALWAYS_RASTER = """
# Random thinning is the raster cut.
uj.multiblock = uj.multiblock_raster
"""
BLOCKS_LYING = """
# Height and width of a block are exchanged.
import usjepa.model.masking as module
true_size = module.block_size
module.block_size = lambda *given: true_size(*given)[::-1]
"""
DROPPED_AFTER = """
# Hidden tokens are dropped after attention: what the student must predict has leaked into what it sees.
from usjepa.model.tokens import take
true_forward = uj.Encoder.forward
def forward(self, clip, keep=None, *, has_positions=True):
    features = true_forward(self, clip, has_positions=has_positions)
    return features if keep is None else take(features, keep)
uj.Encoder.forward = forward
"""
ONE_BLOCK_LESS = """
# Of the blocks that should be frozen the last still learns.
true_freeze = uj.Encoder.freeze_
uj.Encoder.freeze_ = lambda self, blocks: true_freeze(self, max(0, blocks - 1))
"""
FAULTS = {
    "no-teacher": ("00-quickstart", NO_TEACHER, "check-collapse"),
    "head-not-trained": ("00-quickstart", HEAD_NOT_TRAINED, "check-losses"),
    "shuffled-labels": ("00-quickstart", SHUFFLED_LABELS, "check-dsc"),
    "misread-table": ("01-the-claim", MISREAD_TABLE, "checks"),
    "gains-in-points": ("01-the-claim", GAINS_IN_POINTS, "corners"),
    "rows-outermost": ("03-tubelets", ROWS_OUTERMOST, "check-pattern"),
    "column-before-row": ("03-tubelets", COLUMN_BEFORE_ROW, "places"),
    "always-raster": ("04-masking", ALWAYS_RASTER, "check-thin"),
    "blocks-lying": ("04-masking", BLOCKS_LYING, "check-union"),
    "dropped-after": ("05-the-encoder", DROPPED_AFTER, "check-encoder"),
    "one-block-less": ("05-the-encoder", ONE_BLOCK_LESS, "frozen-size"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "fault", "cell"), FAULTS.values(), ids=FAULTS)
def test_a_named_fault_stops_the_notebook_at_its_check(name: str, fault: str, cell: str) -> None:
    assert stop_of(faulty(name, fault)) == Stop(cell, "AssertionError", "")
