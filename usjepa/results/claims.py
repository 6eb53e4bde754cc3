"""What the paper claims, as data: where, what would test it, and the rows it rests on.

Numbers are the paper's, from `usjepa.evaluation.paper`; the verdicts are in `usjepa.results.ledger`.
"""

from typing import Literal, NamedTuple

from usjepa.evaluation.paper import GAINS, METHODS, Gain
from usjepa.results.contrasts import ADAPTED, ALL, BOTH, LEAST, MOST, Contrast, crossed, explaining, lambdas, with_loss

Kind = Literal["gain", "ordering", "optimum", "average", "untestable"]


class Claim(NamedTuple):
    """A claim in our words, with the number that the paper quotes.

    Kinds: a `gain` is one contrast; in an `ordering` or `optimum` (over lambda) every contrast has to hold; in an
    `average` their mean; what is `untestable` rests on CAMUS, on experts or on published weights.
    """

    key: str
    place: str
    says: str
    test: str
    kind: Kind
    contrasts: tuple[Contrast, ...] = ()


def _gain(gain: Gain) -> Claim:
    """One of the gains that section 4.2 quotes, in percent of the base."""
    what = "the localisation loss" if gain.p else "freezing two thirds of the blocks"
    p = f" (p = {gain.p:g})" if gain.p else ""
    return Claim(
        f"gain-{gain.improved}-{gain.percent}",
        "section 4.2, Table 2",
        f"With {gain.percent} % of the labels {what} raises the DSC of {METHODS[gain.base]} by {gain.quoted_percent} %"
        f" of its value{p}.",
        "Paired difference on the same test patients and seeds.",
        "gain",
        (Contrast(gain.improved, gain.base, gain.percent / 100),),
    )


CLAIMS = (
    *(_gain(gain) for gain in GAINS),
    Claim(
        "all-variants-outperform",
        "section 4.2, Table 2",
        "All six V-JEPA rows have a higher DSC than VideoMAE and the supervised ViT, at every share of the labels.",
        "Each of the six against each of the two at four shares: 48 paired differences.",
        "ordering",
        crossed(ADAPTED, ("videomae", "supervised"), ALL),
    ),
    Claim(
        "vjepa-outperforms-videomae",
        "section 5, Table 2",
        "Plain V-JEPA does better than VideoMAE (0.747 against 0.708 with all labels, 0.644 against 0.590 with 10 %).",
        "Paired difference at four shares of the labels, both after equal pre-training.",
        "ordering",
        crossed(("vjepa",), ("videomae",), ALL),
    ),
    Claim(
        "more-frozen-is-better",
        "section 4.2, Table 2",
        "DSC rises with the number of frozen blocks, 0 to 12 to 16 of 24, with 100 % and with 10 % of the labels.",
        "Half against none, two thirds against half, at both shares.",
        "ordering",
        (*crossed(("vjepa-12b",), ("vjepa",), BOTH), *crossed(("vjepa-16b",), ("vjepa-12b",), BOTH)),
    ),
    Claim(
        "16b-ll-is-best",
        "section 4.3, Table 2",
        "Two thirds frozen with the localisation loss is the best row with 10 % of the labels (0.751).",
        "That row against each of the seven others at 10 %.",
        "ordering",
        crossed(("vjepa-16b-ll",), tuple(METHODS), LEAST),
    ),
    Claim(
        "lambda-0.25-optimal",
        "section 4.1, Table 1",
        "Of lambda 0.9, 0.75, 0.5 and 0.25 the last is best in all three configurations (0.754, 0.805, 0.818).",
        "Lambda 0.25 against each other column on validation patients.",
        "optimum",
        lambdas(MOST),
    ),
    Claim(
        "lambda-0.25-stays-optimal",
        "section 4.1 (no numbers)",
        "Lambda 0.25 remains the best with 10, 20 and 50 % of the labels.",
        "The same at these three shares.",
        "optimum",
        lambdas((0.5, 0.2, 0.1)),
    ),
    Claim(
        "all-significant",
        "section 4.2",
        "All six gains of the localisation loss, at 100 and 10 %, have p < 0.05.",
        "The six paired tests with patients as units, adjusted by Holm.",
        "ordering",
        with_loss(BOTH),
    ),
    Claim(
        "ji-improves-alike",
        "section 4.2, Table 2",
        "JI improves as DSC does. (Table 2 itself has a lower JI in two of the six pairs.)",
        "The same six differences in JI.",
        "ordering",
        with_loss(BOTH, "ji"),
    ),
    Claim(
        "recall-gains-more-than-ppv",
        "section 4.2, Table 2",
        "The localisation loss raises recall more than PPV.",
        "Recall less PPV of each video, with and without the loss; mean of three configurations and four shares.",
        "average",
        with_loss(ALL, "recall_less_ppv"),
    ),
    Claim(
        "recall-gap-grows",
        "section 4.2, Table 2",
        "That recall gains more than PPV is more so with fewer labels.",
        "The same at 10 % less the same at 100 %, mean of three configurations.",
        "average",
        with_loss(LEAST, "recall_less_ppv", less_at=1.0),
    ),
    Claim(
        "most-at-10",
        "section 4.2, abstract",
        "The localisation loss helps most with few labels (up to 8.35 % of the DSC at 10 %, up to 3.4 % at 100 %).",
        "The gain at 10 % less the gain at 100 %, in points, in each configuration.",
        "ordering",
        with_loss(LEAST, less_at=1.0),
    ),
    Claim(
        "smoother-boundaries",
        "section 4.3, Figure 2 (three frames)",
        "V-JEPA rows draw smoother boundaries than the supervised ViT and VideoMAE.",
        "Length of the outline over that of its convex hull, each of six rows against both, at 100 and 10 %.",
        "ordering",
        crossed(ADAPTED, ("videomae", "supervised"), BOTH, "roughness", -1),
    ),
    Claim(
        "orientation",
        "section 4.3, Figure 2 (three frames)",
        "With all labels the localisation loss captures the orientation better than each baseline without it.",
        "Angle between the long axes of the drawn and the true ventricle, from second moments.",
        "ordering",
        with_loss(MOST, "tilt_error_deg", sign=-1),
    ),
    Claim(
        "relative-size",
        "section 4.3, Figure 2 (three frames)",
        "With 10 % of the labels the rows with frozen blocks capture the relative sizes best.",
        "|ln(predicted / true area)| of the four rows with frozen blocks against the four others.",
        "ordering",
        crossed(ADAPTED[2:], tuple(METHODS)[:4], LEAST, "size_error", -1),
    ),
    Claim(
        "locality",
        "sections 2.2 and 5",
        "The localisation loss helps because it teaches the encoder where things lie.",
        "The loss as it is against the same without its gradient at the encoder (ll-detached), and without an image at "
        "all (ll-zeroed).",
        "ordering",
        explaining((("vjepa-ll", "ll-detached"), ("vjepa-ll", "ll-zeroed"))),
    ),
    Claim(
        "freezing-curbs-overfitting",
        "section 4.2",
        "Frozen blocks keep pre-training from over-fitting to a small data set.",
        "If so, without frozen blocks a quarter of the pre-training does better on unseen patients than all of it.",
        "ordering",
        explaining((("vjepa-steps/4", "vjepa"),)),
    ),
    Claim(
        "adaptation-pays",
        "sections 3.1 and 4.2 (the row is missing in Table 2)",
        "Pre-training on ultrasound adapts given weights to the domain.",
        "V-JEPA without and with frozen blocks against the weights that it starts from.",
        "ordering",
        crossed(("vjepa", "vjepa-16b"), ("vjepa-start",), BOTH),
    ),
    Claim(
        "model-agnostic",
        "section 1",
        "The auxiliary task takes published weights of any ViT without a change of its architecture.",
        "Published weights of several models, each adapted with and without the loss on CAMUS.",
        "untestable",
    ),
    Claim(
        "less-sensitive-to-noise",
        "abstract, section 1",
        "Predicting features rather than pixels makes V-JEPA less sensitive to noise, contrast and artefacts.",
        "V-JEPA less VideoMAE by the image quality that experts graded; a phantom's noise is of its maker's choice.",
        "untestable",
    ),
)
