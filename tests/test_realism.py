"""The phantom beside statistics of real images: few patients and generous bands here, the full table in the book."""

import dataclasses

import numpy as np
import pytest

from usjepa.data.phantom import PhantomRecipe, realism
from usjepa.data.phantom.beat import examine, render
from usjepa.data.phantom.statistics import CAMUS, speckle_cell, statistics
from usjepa.data.sequence import UltrasoundSequence
from usjepa.errors import InputError

RECIPE = PhantomRecipe(patients=60, seed=3, rows=None)


def first_frame(patient):
    examination = examine(RECIPE, patient, "4CH")
    frames, labels = render(RECIPE, examination, range(1))
    return UltrasoundSequence(
        frames=frames,
        labels=labels,
        patient=f"patient{patient:04d}",
        view="4CH",
        split="unlabelled",
        source="phantom",
        source_sha256="0",
        licence="synthetic",
        spacing_mm=(examination.spacing_mm, examination.spacing_mm),
    )


@pytest.fixture(scope="module")
def table():
    good = [number for number in range(1, 61) if examine(RECIPE, number, "4CH").quality.name == "Good"]
    return realism(first_frame(number) for number in good[:8])


def test_most_statistics_lie_within_the_quartiles_of_real_images(table):
    assert len(table) == len(CAMUS) == 26
    assert table["is_inside"].sum() >= 18, table.to_string()


def test_the_others_are_near(table):
    # Correlations cross zero, where ratios say little.
    near = (table["ratio"] - 1).abs() < 0.35
    close = (table["phantom"] - table["camus"]).abs() < 0.06
    assert (table["is_inside"] | near | close).all(), table.to_string()


def test_statistics_of_white_noise_are_those_that_theory_gives():
    grey = np.random.default_rng(0).normal(120, 20, (400, 400)).clip(1, 255).astype(np.uint8)
    labels = np.zeros_like(grey)
    labels[20:150, 50:350], labels[160:260, 50:350], labels[270:380, 50:350] = 1, 2, 3
    noise = dataclasses.replace(first_frame(1), frames=grey[None], labels=labels[None], spacing_mm=(0.3, 0.3))
    values = statistics(noise)
    assert values["cavity grey"] == pytest.approx(120, abs=1)
    assert values["contrast"] == pytest.approx(0, abs=1.5)
    # Of 25 values: less than 20, because their own mean is subtracted.
    assert values["myocardium local deviation"] == pytest.approx(20 * np.sqrt(24 / 25), abs=0.8)
    assert values["detrended deviation"] == pytest.approx(20, abs=0.5)
    assert values["radial correlation 1 mm"] == pytest.approx(0, abs=0.05)
    # The autocorrelation falls from 1 to 0 between lag 0 and 1: half at 0.5, twice that is 1 pixel.
    assert values["speckle cell across, mm"] == pytest.approx(0.3, abs=0.02)
    assert values["apex depth, mm"] == pytest.approx(20 * 0.3)
    assert values["grey P50"] == pytest.approx(120, abs=1)


def test_a_speckle_cell_is_twice_the_lag_of_half_correlation():
    # Waves of period 16: the autocorrelation is a cosine, half at a sixth of the period.
    wave = np.tile(100 + 50 * np.sin(2 * np.pi * np.arange(320) / 16), (20, 1))
    assert speckle_cell(wave, np.ones_like(wave, bool)) == pytest.approx(2 * 16 / 6, abs=0.15)
    assert np.isnan(speckle_cell(np.tile(np.arange(8.0), (8, 1)), np.ones((8, 8), bool)))


def test_sequences_without_labels_are_refused():
    with pytest.raises(InputError, match="labels and a spacing"):
        realism([dataclasses.replace(first_frame(1), labels=None)])
    with pytest.raises(InputError, match="at least one"):
        realism([])
