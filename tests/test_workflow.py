"""The workflow for clusters, by real Snakemake in processes of its own: what it would run, and real runs broken off."""

import contextlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from usjepa.cli import main
from usjepa.data.store import Store
from usjepa.recipe import AnyRun, PretrainRecipe, SegmentRecipe
from usjepa.recipe_file import recipe_hash, to_json
from usjepa.results.files import empty_results, write_results
from usjepa.results.plan import plan_cells, runs_of

HERE = Path(__file__).parent
WORKFLOW = HERE.parent / "workflow"
LONGEST_S = 600
NOTHING = "Nothing to be done"

pytest.importorskip("snakemake", reason="the extra `cluster` is not installed")


@dataclass(frozen=True)
class Flow:
    """A folder to call Snakemake in, with recipes of its own and one table of them."""

    folder: Path
    recipes: dict[str, SegmentRecipe]

    @property
    def runs(self) -> Path:
        """The folder of runs."""
        return self.folder / "runs"

    @property
    def rows(self) -> list[str]:
        """Hashes in the table, if there is one."""
        return list(pd.read_csv(self.folder / "results" / "own-recipes-runs.csv")["recipe"])

    def configure(self, data: Path) -> None:
        """Write the recipes, and the settings that name them."""
        for name, recipe in self.recipes.items():
            (self.folder / f"{name}.json").write_text(to_json(recipe))
        own = {"plans": [], "recipes": [f"{name}.json" for name in self.recipes], "data": str(data)}
        (self.folder / "config.json").write_text(json.dumps({**own, "gpu": 1, "threads": 1, "peak_tflops": None}))

    def go(self, *options: str, most_bytes: int = resource.RLIM_INFINITY) -> tuple[int, str]:
        """Snakemake to its end, its jobs unable to write files larger than this: exit code and what it said."""
        with started(self.folder, *options, most_bytes=most_bytes) as process:
            return ended(process)

    def done(self, recipe: AnyRun) -> Path:
        """The last file of a run."""
        return self.runs / recipe_hash(recipe) / "done.json"


@contextmanager
def started(
    folder: Path, *options: str, before: Sequence[str] = (), most_bytes: int = resource.RLIM_INFINITY
) -> Iterator[subprocess.Popen[str]]:
    """Snakemake in a folder, with the settings found there; stopped at the end, if it has not ended."""
    configured = ("--configfile", "config.json") if (folder / "config.json").exists() else ()
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(WORKFLOW / "Snakefile"), *configured, *options]
    process = subprocess.Popen(
        [*before, *command],
        cwd=folder,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},  # Python would keep half of a module that the limit cuts
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=partial(resource.setrlimit, resource.RLIMIT_FSIZE, (most_bytes, most_bytes)),
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=30)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    said = process.communicate(timeout=LONGEST_S)[0]
    return process.returncode, said


def local(*options: str) -> tuple[str, ...]:
    """On this machine; a job that fails is not tried again."""
    return ("--profile", str(WORKFLOW / "profiles" / "local"), "--cores", "1", "--retries", "0", *options)


def adaptation(recipe: SegmentRecipe) -> PretrainRecipe:
    assert isinstance(recipe.start, PretrainRecipe)
    return recipe.start


def awaited(happens: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for what a process is to do."""
    deadline = time.monotonic() + LONGEST_S
    while not happens():
        assert process.poll() is None, ended(process)[1]
        assert time.monotonic() < deadline
        time.sleep(0.002)


def kill_training(flow: Flow, recipe: PretrainRecipe, process: subprocess.Popen[str]) -> str:
    """Kill the process that trains this run, as soon as it has left a checkpoint; its log of the steps before that."""
    folder = flow.done(recipe).parent
    awaited((folder / "last.pt").exists, process)
    os.kill(int((folder / ".holder").read_text().split()[1]), signal.SIGKILL)
    assert not (folder / "done.json").exists(), "it was too fast to be killed: take more steps"
    rows = (folder / "log.csv").read_text().splitlines(keepends=True)
    return "".join(rows[: 1 + recipe.save_every // recipe.log_every])


def require_gone_on(flow: Flow, recipe: PretrainRecipe, log: str) -> None:
    """The run has ended, and did not begin anew: its log begins with the same times, and has each step once."""
    path = flow.done(recipe).with_name("log.csv")
    assert path.read_text().startswith(log)
    assert list(pd.read_csv(path)["step"]) == [*range(0, recipe.steps, recipe.log_every), recipe.steps - 1]


@pytest.fixture
def recipe(micro: SegmentRecipe) -> SegmentRecipe:
    """A judge of an adaptation that starts from another pre-training: three runs."""
    first = micro.start
    assert isinstance(first, PretrainRecipe)
    return replace(micro, start=replace(first, start=first, steps=60, log_every=5, save_every=10))


def test_a_dry_run_lists_both_tables_of_the_paper_with_gpu_hours(tmp_path: Path) -> None:
    code, said = Flow(tmp_path, {}).go("-n")
    assert code == 0, said
    cells = [cell for plan in ("table1", "table2") for cell in plan_cells(plan, "paper", 1)]
    runs = {recipe_hash(one) for cell in cells for one in runs_of(cell.recipe)}
    listed = re.findall(r"^Job \d+: ([0-9a-f]{12}): .* ([\d.e-]+) h on H100 SXM, ([\d.e-]+) h on L40S$", said, re.M)
    assert {run for run, _, _ in listed} == runs
    assert len(listed) == len(runs) > 70
    pattern = (
        rf"in all: {len(runs)} runs, ([\d.]+) EFLOP, ([\d.]+) h on H100 SXM, ([\d.]+) h on L40S at 45% of its peak"
    )
    found = re.search(pattern, said)
    assert found
    flops, h100, l40s = (float(one) for one in found.groups())
    assert h100 == pytest.approx(flops * 1e18 / (0.45 * 989e12) / 3600, rel=0.05)
    assert h100 == pytest.approx(sum(float(hours) for _, hours, _ in listed), rel=0.05)
    assert l40s == pytest.approx(sum(float(hours) for _, _, hours in listed), rel=0.05)
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_killed_job_is_gone_on_with_and_a_rerun_that_fails_leaves_no_stale_table(
    recipe: SegmentRecipe, squares: Store, tmp_path: Path
) -> None:
    flow, adapted = Flow(tmp_path, {"one": recipe}), adaptation(recipe)
    flow.configure(squares.folder)
    with started(tmp_path, *local()) as process:
        log = kill_training(flow, adapted, process)
        code, said = ended(process)
    assert code == 1, said
    assert {"last.pt", "log.csv", "workflow.log"} <= {path.name for path in flow.done(adapted).parent.iterdir()}

    code, said = flow.go(*local())
    assert code == 0, said
    assert "4 of 4 steps" in said  # the adaptation, its judge, the table, all: not what the adaptation starts from
    require_gone_on(flow, adapted, log)
    assert flow.rows == [recipe_hash(recipe)]
    one_machine_finds_it_done(flow, squares)
    assert NOTHING in flow.go(*local())[1]

    # Now as the stale table came about: a changed lambda, a try that fails, and the same command again.
    changed = replace(recipe, start=replace(adapted, prediction_weight=0.4))
    flow = Flow(tmp_path, {"one": changed})
    flow.configure(squares.folder)
    code, said = flow.go(*local(), most_bytes=20_000)  # a disk too full for a checkpoint
    assert code == 1, said
    assert "Free space" in (flow.done(adaptation(changed)).parent / "workflow.log").read_text()
    code, said = flow.go(*local())
    assert code == 0, said
    assert "4 of 4 steps" in said
    assert flow.rows == [recipe_hash(changed)]

    shutil.rmtree(flow.done(adaptation(changed)).parent)  # gone from below a table that is newer than what is left
    assert recipe_hash(adaptation(changed)) in flow.go("-n", *local())[1]


def test_a_table_that_fails_is_tried_again_though_an_older_one_lies_there(tmp_path: Path) -> None:
    settings = {"plans": ["table1"], "only": ["vjepa-lambda1"], "profile": "tiny", "peak_tflops": None}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    older = write_results(empty_results(), tmp_path / "results", "table1", "tiny")
    flow, cell = Flow(tmp_path, {}), plan_cells("table1", "tiny", 1)[0]
    for recipe in runs_of(cell.recipe):
        flow.done(recipe).parent.mkdir(parents=True)
        flow.done(recipe).write_text("{}\n")  # and no scores, so that no table can be made of it
    for _ in range(2):
        code, said = flow.go(*local())
        assert code == 1, said
        assert "Error in rule table" in said
    assert all(path.exists() for path in older)


def test_a_setting_that_does_not_exist_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"seed": 3}))
    code, said = Flow(tmp_path, {}).go("-n")
    assert code == 1
    assert "config: expected settings of config.yaml, got seed. Choose of plans, only," in said


def one_machine_finds_it_done(flow: Flow, squares: Store) -> None:
    """`usjepa run` of the same recipe has nothing left to do."""
    done = flow.done(flow.recipes["one"])
    before = done.stat().st_mtime_ns
    assert main(["run", str(flow.folder / "one.json"), "--data", str(squares.folder), "--runs", str(flow.runs)]) == 0
    assert done.stat().st_mtime_ns == before


def without_slurm() -> str:
    """Why a Slurm of our own can't be started here; empty if it can."""
    if os.geteuid():
        return "needs root"
    missing = [name for name in ("slurmctld", "slurmd", "munged") if shutil.which(name) is None]
    return f"not installed: {', '.join(missing)} (Debian: slurm-wlm munge)" if missing else ""


def asked() -> str:
    """What jobs asked for beside processors and memory, those included that have ended."""
    command = ["squeue", "--states=all", "--noheader", "--Format=tres-per-job"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
@pytest.mark.slurm
@pytest.mark.skipif(bool(without_slurm()), reason=without_slurm())
def test_on_a_real_slurm_a_killed_job_is_tried_again_and_goes_on(
    recipe: SegmentRecipe, squares: Store, tmp_path: Path
) -> None:
    alone = replace(adaptation(recipe), start=None)
    judge = replace(recipe, start=alone)
    flow = Flow(tmp_path, {"all": judge, "half": replace(judge, fraction=0.5)})
    flow.configure(squares.folder)
    quick = ("--slurm-init-seconds-before-status-checks", "2", "--seconds-between-status-checks", "2")
    little = ("--default-resources", "slurm_partition=main", "mem_mb=1000", "runtime=5")
    slurm = ("--profile", str(WORKFLOW / "profiles" / "slurm"))
    inside = (str(HERE / "slurm" / "run.sh"), "420")
    with started(tmp_path, *slurm, *quick, *little, before=inside) as process:
        log = kill_training(flow, alone, process)
        assert "gpu:1" in asked()
        code, said = ended(process)
    assert code == 0, said
    assert said.count("has been submitted with SLURM jobid") == 4  # three jobs, one of them twice
    require_gone_on(flow, alone, log)
    assert flow.rows == [recipe_hash(one) for one in flow.recipes.values()]
