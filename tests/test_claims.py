"""The ledger's rule on results whose truth is known, and the claims against the paper's own data."""

import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from results_cells import micro_cells, space_of

from usjepa.catalogue import NAMES
from usjepa.data.store import Store
from usjepa.errors import InputError
from usjepa.evaluation.audit import local_loss_effects
from usjepa.evaluation.paper import GAINS, TABLE_1, TABLE_2
from usjepa.recipe import SegmentRecipe
from usjepa.results.claims import CLAIMS
from usjepa.results.collect import build
from usjepa.results.contrasts import DETACHED, Contrast, cells_of, controls_of, null_of
from usjepa.results.files import NOT_YET_RUN, OF_VIDEOS, RUNS, SCORES, Results, empty_results, write_results
from usjepa.results.ledger import (
    HELD_BACK,
    NOT_RESOLVED,
    NOT_TESTABLE,
    REPRODUCED,
    REVERSED,
    check_ledger,
    claim_verdict,
    groups_of,
    ledger,
    null_spread,
    verdict_of,
    write_ledger,
)
from usjepa.results.measured import Evidence, all_results, measure
from usjepa.results.plan import LENGTHS, PLANS
from usjepa.results.sweep import sweep

PATIENTS = 16
KEY = {claim.key: claim for claim in CLAIMS}


def made_results(
    gains: Mapping[str, float],
    rows: tuple[str, ...] = PLANS["table2"].names,
    *,
    seeds: int = 3,
    fractions: tuple[float, ...] = (1.0, 0.1),
    metrics: tuple[str, ...] = ("dsc", "recall_less_ppv"),
) -> Results:
    """Rows with the given gains over 0.6 (times two at 10 %), patients that are hard for all, and a little noise."""
    rng = np.random.default_rng(0)
    hard = rng.normal(0, 0.05, 2 * PATIENTS)
    splits = np.where(np.arange(2 * PATIENTS) < PATIENTS, "test", "validation")
    names = [f"{split}|patient{k:04d}|patient{k:04d}_4CH" for k, split in enumerate(splits)]
    runs, videos = [], []
    for seed in range(seeds):
        for row in rows:
            for fraction in fractions:
                recipe = sha256(f"{row} {seed} {fraction}".encode()).hexdigest()[:12]
                given = {"row": row, "seed": str(seed), "fraction": f"{fraction:g}", "recipe": recipe}
                cost = {"status": "done", "data": "one", "seconds": "36.0", "start": row, "start_seconds": "3600.0"}
                runs.append({**dict.fromkeys(RUNS, ""), **given, **cost})
                for metric in metrics:
                    gain = gains.get(row, 0.0) * (2 if fraction < 1 else 1)
                    scores = 0.6 + gain + hard + rng.normal(0, 0.004, 2 * PATIENTS)
                    shown = {name: f"{score:.4f}" for name, score in zip(names, scores, strict=True)}
                    videos.append({**given, "frames": "all", "metric": metric, **shown})
    return Results(
        pd.DataFrame(runs, columns=RUNS),
        pd.DataFrame(columns=SCORES, dtype=str),
        pd.DataFrame(videos)[[*OF_VIDEOS, *names]],
    )


GAINS_OF = {"vjepa-ll": 0.02, "vjepa-12b": 0.05, "vjepa-12b-ll": 0.03, "vjepa-16b": 0.05, "vjepa-16b-ll": 0.0505}
CONTROLS = (*PLANS["controls"].names,)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Table 2 and the controls: the loss helps without freezing, harms at half, does next to nothing at two thirds."""
    folder = tmp_path_factory.mktemp("ledger")
    write_results(made_results(GAINS_OF), folder, "table2", "tiny")
    write_results(made_results(GAINS_OF, CONTROLS), folder, "controls", "tiny")
    return folder


@pytest.fixture(scope="module")
def written(folder: Path) -> pd.DataFrame:
    return ledger(folder, "tiny").set_index("key")


def test_there_are_about_25_claims_with_keys_of_their_own_and_the_eight_quoted_gains() -> None:
    assert 24 <= len(CLAIMS) <= 30
    assert len(KEY) == len(CLAIMS)
    assert [claim.key for claim in CLAIMS if claim.kind == "gain"] == [
        f"gain-{gain.improved}-{gain.percent}" for gain in GAINS
    ]
    assert all(gain.quoted_percent in KEY[f"gain-{gain.improved}-{gain.percent}"].says for gain in GAINS)


def test_every_score_that_a_claim_quotes_is_in_the_papers_tables() -> None:
    printed = {f"{score:.3f}" for row in TABLE_1.values() for score in row} | {f"{row.dsc[0]:.3f}" for row in TABLE_2}
    quoted = {number for claim in CLAIMS for number in re.findall(r"(?<!p = )0\.\d{3}", claim.says)}
    assert len(quoted) > 5
    assert quoted <= printed
    effects = local_loss_effects().query("metric == 'ji' and percent in (100, 10)")
    assert "two of the six" in KEY["ji-improves-alike"].says
    assert (effects["points"] < 0).sum() == 2


def test_every_claim_rests_on_rows_that_exist_and_only_the_untestable_on_none() -> None:
    for claim in CLAIMS:
        assert bool(claim.contrasts) == (claim.kind != "untestable"), claim.key
        assert all(row in (*NAMES, *LENGTHS) for one in claim.contrasts for row, _ in cells_of(one)), claim.key
        assert all(len({(one.metric, one.split, one.sign) for one in group}) == 1 for group in groups_of(claim))


def test_a_gain_is_reproduced_reversed_or_not_resolved(written: pd.DataFrame) -> None:
    assert written.loc["gain-vjepa-ll-100", "verdict"] == REPRODUCED
    assert written.loc["gain-vjepa-12b-ll-100", "verdict"] == REVERSED
    assert written.loc["gain-vjepa-16b-ll-100", "verdict"] == NOT_RESOLVED
    line = written.loc["gain-vjepa-ll-10"]
    assert float(line["low"]) < float(line["effect"]) < float(line["high"])
    assert float(line["effect"]) == pytest.approx(4, abs=0.3)
    assert (line["unit"], line["seeds"], line["patients"], line["profile"]) == ("points", "3", str(PATIENTS), "tiny")


def test_an_ordering_needs_all_of_its_differences_and_one_reversed_refutes_it(written: pd.DataFrame) -> None:
    line = written.loc["all-significant"]
    assert (line["verdict"], line["held"], line["reversed"], line["of"]) == (REVERSED, "2", "2", "6")
    assert line["contrast"].startswith("dsc of vjepa-12b-ll less vjepa-12b, 10%")
    assert written.loc["more-frozen-is-better", "verdict"] == NOT_RESOLVED
    assert written.loc["most-at-10", "verdict"] == REVERSED
    assert claim_verdict([REPRODUCED, NOT_RESOLVED, NOT_YET_RUN]) == NOT_YET_RUN
    assert claim_verdict([NOT_YET_RUN, REVERSED]) == REVERSED
    assert claim_verdict([HELD_BACK, NOT_RESOLVED]) == HELD_BACK
    assert claim_verdict([REPRODUCED, REPRODUCED]) == REPRODUCED


def test_what_is_missing_says_so_and_what_needs_camus_too(written: pd.DataFrame) -> None:
    for key in ("lambda-0.25-optimal", "all-variants-outperform", "ji-improves-alike", "freezing-curbs-overfitting"):
        assert written.loc[key, "verdict"] in (NOT_YET_RUN, REVERSED), key
        assert written.loc[key, "needs"], key
    assert written.loc["ji-improves-alike", ["effect", "random", "seeds"]].tolist() == [NOT_YET_RUN] * 3
    assert "vjepa-lambda0.9 at 100%" in written.loc["lambda-0.25-optimal", "needs"]
    assert written.loc["model-agnostic", "verdict"] == NOT_TESTABLE
    assert not (written.drop(columns=["runs", "needs"]) == "").any(axis=None)
    assert not written.isna().any(axis=None)


def test_no_gain_of_the_loss_is_shown_without_random_lambda_1_and_the_detached_control(tmp_path: Path) -> None:
    for left_out in ("random", "vjepa", DETACHED):
        rows = tuple(row for row in (*CONTROLS, "vjepa-12b", "vjepa-12b-ll") if row != left_out)
        results = made_results(GAINS_OF, rows)
        measured = measure(Evidence(results), (Contrast("vjepa-ll", "vjepa", 1.0),))
        assert measured.effect is None
        assert measured.beside == {}
        assert f"{left_out} at 100%" in measured.needs
    assert controls_of(Contrast("vjepa-12b-ll", "vjepa-12b-lambda0.5", 0.5)) == {
        "random": ("random", 0.5),
        "lambda_1": ("vjepa-12b", 0.5),
        "detached": (DETACHED, 0.1),
    }
    assert controls_of(Contrast("vjepa", "videomae", 1.0)) == {}


def test_what_stands_beside_a_gain_are_the_rows_own_means(folder: Path, written: pd.DataFrame) -> None:
    videos = all_results(folder, "tiny").videos.query("row == 'random' and fraction == '0.1' and metric == 'dsc'")
    scores = videos[[name for name in videos if name.startswith("test|")]].astype(float).to_numpy()
    assert written.loc["gain-vjepa-ll-10", "random"] == f"{scores.mean():.3f}"


def test_a_difference_within_the_null_controls_spread_is_not_resolved() -> None:
    for gain, verdict in ((0.0, REPRODUCED), (0.03, NOT_RESOLVED)):
        results = made_results({**GAINS_OF, DETACHED: gain}, CONTROLS)
        measured = measure(Evidence(results), (Contrast("vjepa-ll", "vjepa", 1.0),))
        assert verdict_of(measured, 0.001, sign=1) == verdict
        assert null_spread(measured) == pytest.approx(100 * gain, abs=0.7)
    assert null_of(Contrast("vjepa-ll", "vjepa", 0.2, "ji", less_at=1.0)) == Contrast(
        DETACHED, "vjepa", 0.1, "ji", less_at=1.0
    )


def test_two_seeds_resolve_nothing_and_seeds_without_a_partner_are_left_out() -> None:
    results = made_results(GAINS_OF, CONTROLS)
    contrast = Contrast("vjepa-ll", "vjepa", 1.0)
    assert verdict_of(measure(Evidence(results), (contrast,)), 0.001, sign=1) == REPRODUCED
    alone = (results.videos["row"] == "vjepa") & (results.videos["seed"] == "1")
    measured = measure(Evidence(results._replace(videos=results.videos[~alone])), (Contrast("vjepa-ll", "vjepa", 1.0),))
    assert measured.effect is not None
    assert measured.effect.seeds == 2
    assert verdict_of(measured, 0.001, sign=1) == NOT_RESOLVED


def test_the_sign_of_a_metric_of_which_less_is_better_is_turned() -> None:
    results = made_results({"vjepa-ll": -0.02}, CONTROLS, metrics=("dsc", "tilt_error_deg"))
    measured = measure(Evidence(results), (KEY["orientation"].contrasts[0],))
    assert measured.effect is not None
    assert measured.effect.points == pytest.approx(-2, abs=0.3)
    assert verdict_of(measured, 0.01, sign=-1) == REPRODUCED
    assert verdict_of(measured, 0.01, sign=1) == REVERSED
    assert verdict_of(measured, 0.06, sign=-1) == NOT_RESOLVED


def test_the_mean_of_contrasts_is_that_of_each_videos_differences() -> None:
    results = made_results(GAINS_OF)
    results = Results(
        *(pd.concat(some, ignore_index=True) for some in zip(results, made_results({}, (DETACHED,)), strict=True))
    )
    group = KEY["recall-gap-grows"].contrasts
    measured, single = measure(Evidence(results), group), [measure(Evidence(results), (one,)) for one in group]
    assert measured.effect is not None
    points = [one.effect.points for one in single if one.effect]
    assert measured.effect.points == pytest.approx(np.mean(points), abs=1e-9)


def test_rows_of_table_1_stand_for_those_of_table_2_that_are_the_same_recipe(tmp_path: Path) -> None:
    rows = ("vjepa-lambda1", "vjepa-lambda0.9", "vjepa-lambda0.25")
    write_results(made_results({}, rows, fractions=(1.0,)), tmp_path, "table1", "tiny")
    results = all_results(tmp_path, "tiny")
    assert results.runs["row"].unique().tolist() == ["vjepa", "vjepa-lambda0.9", "vjepa-ll"]
    write_results(made_results({}, rows, fractions=(1.0,)), tmp_path, "controls", "tiny")
    assert len(all_results(tmp_path, "tiny").runs) == len(results.runs)


def test_a_ledger_names_the_runs_behind_a_verdict_and_their_hours(folder: Path, written: pd.DataFrame) -> None:
    line = written.loc["gain-vjepa-ll-100"]
    runs = all_results(folder, "tiny").runs.set_index("recipe")
    behind = runs.loc[line["runs"].split()]
    assert set(behind["row"]) == {"vjepa", "vjepa-ll", "random", DETACHED}
    assert set(behind["fraction"]) == {"1"}
    assert len(behind) == 12
    assert float(line["hours"]) == pytest.approx((12 * 36 + 4 * 3600) / 3600, abs=0.01)


def test_a_ledger_has_the_same_bytes_each_time_and_a_check_finds_a_changed_one(tmp_path: Path) -> None:
    write_results(made_results({"vjepa-ll": -0.02}, CONTROLS, fractions=(1.0,)), tmp_path, "controls", "tiny")
    assert check_ledger(tmp_path, "tiny") == [
        f"{tmp_path / 'ledger-tiny.csv'}: expected the ledger of the results beside it, found none"
    ]
    first = write_ledger(tmp_path, "tiny").read_bytes()
    assert check_ledger(tmp_path, "tiny") == []
    path = tmp_path / "ledger-tiny.csv"
    path.write_bytes(first.replace(REVERSED.encode(), REPRODUCED.encode(), 1))
    (problem,) = check_ledger(tmp_path, "tiny")
    assert problem.startswith(f"{path}: line ")


def test_without_results_all_is_not_yet_run_and_data_of_two_kinds_are_refused(tmp_path: Path) -> None:
    empty = ledger(tmp_path, "small").set_index("key")
    assert set(empty["verdict"]) == {NOT_YET_RUN, NOT_TESTABLE}
    results = made_results({}, ("random", "vjepa"))
    results.runs.loc[0, "data"] = "another"
    write_results(results, tmp_path, "table2", "small")
    with pytest.raises(InputError, match="expected one fingerprint in a table, got random seed 0"):
        ledger(tmp_path, "small")


def test_a_ledger_is_built_from_the_files_of_real_runs(micro: SegmentRecipe, squares: Store, tmp_path: Path) -> None:
    cells = [cell for cell in micro_cells(micro) if cell.fraction == 1]
    assert sweep(cells, space_of(squares.folder, tmp_path / "runs")) == []
    write_results(build(cells, tmp_path / "runs", empty_results()), tmp_path, "controls", "tiny")
    line = ledger(tmp_path, "tiny").set_index("key").loc["gain-vjepa-ll-100"]
    assert (line["verdict"], line["needs"]) == (HELD_BACK, f"{DETACHED} at 100%")
    assert set(line["runs"].split()) == {cell.hash for cell in cells}
    evidence = Evidence(all_results(tmp_path, "tiny"))
    for metric in ("dsc", "recall_less_ppv", "roughness", "size_error"):
        assert len(evidence.of(("vjepa-ll", 1.0), metric, "test").dropna()) == 4, metric
    contrast = Contrast("vjepa", "random", 1.0)
    measured = measure(evidence, (contrast,))
    assert measured.effect is not None
    assert (measured.effect.seeds, measured.effect.patients) == (2, 2)
