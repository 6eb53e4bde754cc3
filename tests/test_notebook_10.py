"""The assertions of notebook 10 can fail: a named fault in the package stops it at the cell that should notice."""

import pytest
from faults import Stop, faulty, stop_of

NAME = "10-features-to-anatomy"

PLACES_ONLY = """
# A query of the probe is its place's learnt vector alone.
def forward(self, features, places=None):
    tokens = self.norm_in(features)
    queries = self.position_queries.expand_as(tokens)
    read = queries + self.attention(queries, tokens, tokens, need_weights=False)[0]
    return self.norm_out(read + self.mlp(self.norm_mlp(read)))
AttentiveProbe.forward = forward
"""
COLUMN_BEFORE_ROW = """
# The decoder lays a token's pixels out column by column: on a square patch no shape betrays it.
true_forward = TokenDecoder.forward
def forward(self, tokens):
    side = self.first.stride[1] * self.second.stride[1]
    return rearrange(true_forward(self, tokens), "b m s (t h v) -> b m s (t v h)", h=side, v=side)
TokenDecoder.forward = forward
"""
MAPS_EXCHANGED = """
# Prediction and truth change places: DSC and JI don't notice.
true_confusion = uj.confusion
uj.confusion = lambda predicted, true: true_confusion(true, predicted)
"""
RECALL_FOR_PPV = """
# PPV divides by the true pixels.
uj.ppv = uj.recall
"""
ABSENT_IS_PERFECT = """
# A structure in neither map scores 1.
true_dsc = uj.dsc
uj.dsc = lambda of: true_dsc(of).nan_to_num(1.0)
"""
BACKGROUND_IN_EVERY_MEAN = """
# What is called over structures counts the background too.
true_averages = uj.averages
def averages(scores):
    four = true_averages(scores).query("structure == 'with background'")
    rest = true_averages(scores).query("structure != 'over structures'")
    return pd.concat([four.assign(structure="over structures"), rest])
uj.averages = averages
"""
DEVIATION_LEFT_OUT = """
# The package's features lose their mean but keep their deviations.
from usjepa.model.segmenter import Standardiser
true_fit_ = Standardiser.fit_
Standardiser.fit_ = lambda self, features: (true_fit_(self, features), self.deviation.fill_(1.0))
"""
RATE_THAT_STAYS = """
# In the package's loop the learning rate doesn't fall.
import usjepa.training.segment as module
module.cosine = lambda progress, start, final: start
"""
MEAN_OF_ONE = """
# The mean mask is the outline of the first training film.
import usjepa.evaluation.shortcuts as module
true_position = module._position
module._position = lambda images: true_position(uj.Images(images.frames[:1], images.labels[:1]))
"""
PADDING_FORGOTTEN = """
# Maps go back to the film's size as if the square hadn't been padded.
def stretched(maps, size):
    return functional.interpolate(maps[None].float(), size, mode="nearest")[0].to(maps.dtype)
uj.to_native = stretched
"""
FAULTS = {
    "places-only": (PLACES_ONLY, "probe-equal"),
    "column-before-row": (COLUMN_BEFORE_ROW, "decoder-equal"),
    "maps-exchanged": (MAPS_EXCHANGED, "counts-equal"),
    "recall-for-ppv": (RECALL_FOR_PPV, "scores-equal"),
    "absent-is-perfect": (ABSENT_IS_PERFECT, "empty"),
    "background-in-every-mean": (BACKGROUND_IN_EVERY_MEAN, "averages-equal"),
    "deviation-left-out": (DEVIATION_LEFT_OUT, "bits"),
    "rate-that-stays": (RATE_THAT_STAYS, "bits"),
    "mean-of-one": (MEAN_OF_ONE, "check-audits"),
    "padding-forgotten": (PADDING_FORGOTTEN, "check-native"),
}
WRONG_ANSWERS = {
    "all-alike": ("np.full(100, 0.681)", "mean ji 0.5163, wanted 0.641"),
    "too-good": ("np.array([1.0] * 70 + [0.222] * 30)", "mean dsc 0.7666, wanted 0.681"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "cell"), FAULTS.values(), ids=FAULTS)
def test_a_named_fault_stops_the_notebook_at_its_check(fault: str, cell: str) -> None:
    assert stop_of(faulty(NAME, fault))[:2] == (cell, "AssertionError")


@pytest.mark.slow
@pytest.mark.parametrize(("answer", "says"), WRONG_ANSWERS.values(), ids=WRONG_ANSWERS)
def test_a_wrong_answer_to_the_exercise_is_told_what_is_wrong(answer: str, says: str) -> None:
    notebook = faulty(NAME, "")
    notebook.cells = [one for one in notebook.cells if one.id in ("setup", "row", "solution", "check-exercise")]
    (solution,) = [one for one in notebook.cells if one.id == "solution"]
    right = "mine = np.array([1.0] * 59 + [0.222] * 41)"
    assert right in solution.source
    solution.source = solution.source.replace(right, f"mine = {answer}")
    message = f"{says}: better masks lift both means, more scatter lifts JI alone"
    assert stop_of(notebook) == Stop("check-exercise", "AssertionError", message)
