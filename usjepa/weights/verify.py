"""The known-answer test of a checkpoint: our models with its weights against tensors that the official code wrote."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from usjepa.errors import InputError
from usjepa.weights import answers_videomae, answers_vjepa
from usjepa.weights.answers_training import schedule_answers, training_answers
from usjepa.weights.containers import read_container
from usjepa.weights.files import WeightsFile, read_weights
from usjepa.weights.known import Answer, Known


class Difference(NamedTuple):
    """The largest difference of our tensor and the official one: of the elements beyond their tolerance, if any are.

    `tolerance` is that element's own: a gradient's grows with it.
    """

    name: str
    largest: float
    tolerance: float

    @property
    def held(self) -> bool:
        """Whether every element is within its tolerance; not a number is not."""
        return self.largest <= self.tolerance


def verify(checkpoint: Path, expected: Path) -> list[Difference]:
    """Every tensor of `expected` that we compute too, with the weights of `checkpoint`.

    Both files are in the layout of tests/fixtures/README.md, V-JEPA's or VideoMAE's, of any sizes, seeds, grids and
    mask ratios. Compared are features of all and of kept tokens, predictions, targets, losses, gradients, tables of
    positions, in float64 too, and what V-JEPA's file has of training steps, schedules and other sizes of clips.
    Not compared is what we don't build: V-JEPA's own probe (`pooler`), its variance term, positions that are not
    `uniform_power`, and VideoMAE's raw pixels. Raises InputError for files in another layout.
    """
    known, weights = Known(expected, read_container(expected).contents), read_weights(checkpoint)
    return [_difference(known, answer) for answer in _answers(known, weights)]


def _answers(known: Known, weights: WeightsFile) -> Iterator[Answer]:
    is_videomae = "config/decoder_embed" in known.values
    if not is_videomae:
        known.whole("config/predictor_embed")
    family = "videomae" if is_videomae else "vjepa"
    if weights.family != family:
        raise InputError(
            f"{weights.path}: expected weights of {family}, as {known.path} is for, got {weights.form}. Give its pair."
        )
    if is_videomae:
        return answers_videomae.videomae_answers(known, answers_videomae.read_case(known, weights))
    case = answers_vjepa.read_case(known, weights)
    return chain(answers_vjepa.vjepa_answers(known, case), schedule_answers(known), training_answers(known, case))


def _difference(known: Known, answer: Answer) -> Difference:
    if answer.ours.shape != answer.theirs.shape:
        raise InputError(
            f"{known.path}: {answer.name}: expected {tuple(answer.ours.shape)} of these sizes, got "
            f"{tuple(answer.theirs.shape)}. Write the file again."
        )
    ours, theirs = answer.ours.double().flatten(), answer.theirs.double().flatten()
    allowed = (answer.tolerance.relative * theirs.abs()).clamp(min=answer.tolerance.absolute)
    off = (ours - theirs).abs()
    beyond = ~(off <= allowed)
    worst = int((off.where(beyond, -1.0) if beyond.any() else off).argmax())
    return Difference(answer.name, off[worst].item(), allowed[worst].item())
