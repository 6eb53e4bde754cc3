"""The claims ledger: what came of each claim of the paper, from committed result files alone, by one stated rule.

A difference is *resolved* if (1) at least `LEAST_SEEDS` paired seeds were run; (2) its 95 % interval over patients and
seeds excludes 0; (3) its p, sign flips with patients as units, adjusted by Holm over its family, is below 0.05; (4) it
is farther from 0 than both ends of the interval of the detached control less V-JEPA (the null spread), where that was
run. The eight quoted gains are one family, every other claim is its own; what is not yet run counts there as
p = 1, so that adjusted p-values can only fall when it is. A claim is *reproduced* if all of its differences are
resolved as claimed, *reversed* if one is resolved the other way, else *not resolved*, or *not yet run* as long as one
is missing; *held back* if its own rows were run but a control that has to stand beside it was not. Signs are judged,
not sizes: a phantom's DSC is not CAMUS's.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from usjepa.evaluation.resampling import LEVEL, holm
from usjepa.files import replaced
from usjepa.results.claims import CLAIMS, Claim, Kind
from usjepa.results.contrasts import Contrast
from usjepa.results.files import NOT_YET_RUN, Results
from usjepa.results.measured import Evidence, Measured, all_results, measure

REPRODUCED = "reproduced at this scale"
REVERSED = "reversed"
NOT_RESOLVED = "not resolved"
HELD_BACK = "held back, a control is not yet run"
NOT_TESTABLE = "not tested by these runs"
LEAST_SEEDS = 3
UNITS = {"tilt_error_deg": ("degrees", 0.01)}
"""Of metrics that aren't scores: unit, and what hundredths are multiplied by. Scores are compared in points."""
REFUTED: dict[Kind, str] = {
    "gain": "the difference is resolved in the other direction",
    "ordering": "any of the differences is resolved in the other direction",
    "optimum": "any other lambda is resolved above 0.25",
    "average": "the mean is resolved in the other direction",
    "untestable": "CAMUS, experts or the published weights say otherwise",
}
NUMBERS = ["effect", "low", "high", "unit", "p_holm", "null_spread", "random", "lambda_1", "detached"]
COLUMNS = ["key", "place", "says", "kind", "verdict", "held", "reversed", "of", "contrast", *NUMBERS]
COLUMNS += ["seeds", "patients", "profile", "source", "hours", "runs", "needs", "test", "refuted_if"]


def ledger(folder: Path, profile: str) -> pd.DataFrame:
    """A row a claim, all text; `results/README.md` explains the columns. Raises InputError as `all_results`.

    Its numbers are those of one contrast, named in `contrast`: of several the least favourable to the claim. `held`
    and `reversed` are how many of them were resolved as claimed and the other way.
    """
    evidence = Evidence(all_results(folder, profile))
    wanted = dict.fromkeys(group for claim in CLAIMS for group in groups_of(claim))
    found = {group: measure(evidence, group) for group in wanted}
    adjusted = _adjusted(found)
    rows = [_row(claim, found, adjusted, evidence.results) for claim in CLAIMS]
    return pd.DataFrame(rows, columns=COLUMNS).assign(profile=profile, source=evidence.results.source)


def write_ledger(folder: Path, profile: str) -> Path:
    """Write `ledger-PROFILE.csv` beside the results, whole; the same results give the same bytes."""
    path = folder / f"ledger-{profile}.csv"
    with replaced(path) as beside:
        beside.write_text(_text(ledger(folder, profile)), encoding="utf-8", newline="")
    return path


def check_ledger(folder: Path, profile: str) -> list[str]:
    """What is wrong with the ledger that is there, a line each; nothing if it is what the results give."""
    path = folder / f"ledger-{profile}.csv"
    if not path.exists():
        return [f"{path}: expected the ledger of the results beside it, found none"]
    there, expected = path.read_bytes().decode(), _text(ledger(folder, profile))
    lines = zip(there.splitlines(), expected.splitlines(), strict=False)
    changed = [number for number, (one, other) in enumerate(lines, start=1) if one != other]
    return [] if there == expected else [f"{path}: line {(changed or [1])[0]} is not what the results give"]


def groups_of(claim: Claim) -> list[tuple[Contrast, ...]]:
    """The contrasts that are measured together: of an average all, else each by itself."""
    together = [claim.contrasts] if claim.kind == "average" else [(one,) for one in claim.contrasts]
    return [group for group in together if group]


def verdict_of(measured: Measured, p_holm: float, sign: int) -> str:
    """The verdict on one difference, by the rule above."""
    effect = measured.effect
    if effect is None:
        return HELD_BACK if measured.is_held_back else NOT_YET_RUN
    is_apart = effect.low_points > 0 or effect.high_points < 0
    is_beyond = abs(effect.points) > null_spread(measured)
    if effect.seeds < LEAST_SEEDS or not (is_apart and is_beyond and p_holm < LEVEL):
        return NOT_RESOLVED
    return REPRODUCED if sign * effect.points > 0 else REVERSED


def null_spread(measured: Measured) -> float:
    """How far from 0 the null control may be, in points; 0 where it was not run."""
    null = measured.null
    return max(abs(null.low_points), abs(null.high_points)) if null else 0.0


def claim_verdict(verdicts: Sequence[str]) -> str:
    """The verdict on a claim from those on its differences; one that is reversed refutes it whatever is missing."""
    if not verdicts:
        return NOT_TESTABLE
    for refuting in (REVERSED, NOT_YET_RUN, HELD_BACK, NOT_RESOLVED):
        if refuting in verdicts:
            return refuting
    return REPRODUCED


def _adjusted(found: dict[tuple[Contrast, ...], Measured]) -> dict[tuple[str, tuple[Contrast, ...]], float]:
    """Holm's p of each claim's differences."""
    keys = [(claim, group) for claim in CLAIMS for group in groups_of(claim)]
    effects = [found[group].effect for _, group in keys]
    family = ["gain" if claim.kind == "gain" else claim.key for claim, _ in keys]
    p = pd.Series([effect.p_patients if effect else 1.0 for effect in effects], dtype=float)
    names = [(claim.key, group) for claim, group in keys]
    return dict(zip(names, p.groupby(family).transform(holm), strict=True))


def _row(
    claim: Claim,
    found: dict[tuple[Contrast, ...], Measured],
    adjusted: dict[tuple[str, tuple[Contrast, ...]], float],
    results: Results,
) -> dict[str, str]:
    """One line of the ledger."""
    groups = groups_of(claim)
    some = [(group, found[group], adjusted[claim.key, group]) for group in groups]
    verdicts = [verdict_of(measured, p, group[0].sign) for group, measured, p in some]
    said = {"key": claim.key, "place": claim.place, "says": claim.says, "kind": claim.kind, "test": claim.test}
    counts = {"held": verdicts.count(REPRODUCED), "reversed": verdicts.count(REVERSED), "of": len(verdicts)}
    said |= {name: str(count) for name, count in counts.items()}
    recipes = dict.fromkeys(recipe for _, measured, _ in some for recipe in measured.recipes)
    said |= {"runs": " ".join(recipes), "hours": f"{_hours(results, list(recipes)):.2f}"}
    said |= {"needs": "; ".join(dict.fromkeys(need for _, measured, _ in some for need in measured.needs))}
    said |= {"verdict": claim_verdict(verdicts), "refuted_if": REFUTED[claim.kind]}
    known = [one for one in some if one[1].effect is not None]
    if not known:
        empty = NOT_YET_RUN if groups else "-"
        return said | dict.fromkeys(["contrast", *NUMBERS, "seeds", "patients"], empty)
    return said | _numbers(*min(known, key=_favour))


def _favour(one: tuple[tuple[Contrast, ...], Measured, float]) -> float:
    """How far a difference goes the way that was claimed."""
    group, measured, _ = one
    return group[0].sign * measured.effect.points if measured.effect else float("nan")


def _numbers(group: tuple[Contrast, ...], measured: Measured, p_holm: float) -> dict[str, str]:
    """Effect, interval and what stands beside it."""
    effect, null, first = measured.effect, measured.null, group[0]
    assert effect is not None
    unit, scale = UNITS.get(first.metric, ("points", 1.0))
    sizes = {"effect": effect.points, "low": effect.low_points, "high": effect.high_points}
    shown = {name: f"{scale * size:.2f}" for name, size in sizes.items()}
    shown |= {"null_spread": f"{scale * null_spread(measured):.2f}" if null else NOT_YET_RUN}
    shown |= {name: f"{measured.beside[name]:.3f}" if measured.beside else "-" for name in NUMBERS[-3:]}
    label = first.label if len(group) == 1 else f"mean of {len(group)}, as {first.label}"
    counts = {"seeds": str(effect.seeds), "patients": str(effect.patients)}
    return shown | counts | {"unit": unit, "p_holm": f"{p_holm:.2g}", "contrast": label}


def _hours(results: Results, recipes: list[str]) -> float:
    """Of one core or GPU (`device` in the results): judging and pre-training, each pre-training once."""
    runs = results.runs[results.runs["recipe"].isin(recipes)].drop_duplicates("recipe")
    starts = runs.drop_duplicates("start")["start_seconds"]
    return float(pd.to_numeric(pd.concat([runs["seconds"], starts]), errors="coerce").sum() / 3600)


def _text(table: pd.DataFrame) -> str:
    return table.to_csv(index=False, lineterminator="\n")
