"""Execute notebooks headlessly, two at a time, each in a process of its own."""

import json
import multiprocessing
import os
import resource
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path

import papermill
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.exceptions import PapermillExecutionError

from usjepa.errors import InputError
from usjepa.notebooks.check import fingerprints
from usjepa.notebooks.files import read_notebook, to_text, write_text
from usjepa.notebooks.normal import normalise
from usjepa.notebooks.parameters import convert_parameters

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
CELL_TIMEOUT_S = 600
NEWS_INTERVAL_S = 15.0


@dataclass(frozen=True)
class NotebookRun:
    """One execution: elapsed seconds, processor seconds of the kernel and its children, and what failed, if anything.

    Times are kept beside the notebook, never in it, because they differ between two equal runs.
    """

    name: str
    elapsed_s: float
    processor_s: float
    failure: str | None


def run_notebooks(paths: Sequence[Path], *, out: Path | None, times: Path, processes: int = 2) -> list[NotebookRun]:
    """Execute notebooks with their default parameters and store them normalised.

    In place, or under their own names in the folder `out`, where the originals stay untouched. Each runs in its own
    folder with one thread. Prints which runs and for how long, and writes the times to the JSON file `times`. Raises
    InputError naming each notebook that failed and the cell; a failed notebook is stored in `out` only.
    """
    for path in paths:
        read_notebook(path)
    targets = [path if out is None else out / path.name for path in paths]
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), initializer=_one_thread) as pool:
        waiting = {pool.submit(_run_one, path, target) for path, target in zip(paths, targets, strict=True)}
        runs = _follow(waiting, len(paths))
    runs.sort(key=lambda run: run.name)
    write_text(times, json.dumps([asdict(run) for run in runs], indent=1) + "\n")
    if failures := [run.failure for run in runs if run.failure]:
        raise InputError("\n".join(failures))
    return runs


def batch(notebook: Path, out: Path, parameters: Mapping[str, str]) -> Path:
    """Execute one notebook with other parameters and write it to `out` under its own name; gives that file.

    Values are text as typed, converted to the type of the notebook's default. Raises InputError, before anything
    runs, for a name that the notebook doesn't have; and afterwards if a cell failed. The result keeps papermill's
    record of parameters and duration.
    """
    values = convert_parameters(read_notebook(notebook), parameters, str(notebook))
    target = out / notebook.name
    if target.resolve() == notebook.resolve():
        raise InputError(f"{out}: would overwrite {notebook} itself. Give another folder.")
    scratch = _scratch(target)
    if failure := _execute(notebook, scratch, values):
        raise InputError(failure + _keep_failed(scratch, target))
    os.replace(scratch, target)
    return target


def _one_thread() -> None:
    """Two notebooks share the machine, and sums in another order would round otherwise: one thread each."""
    os.environ.update(dict.fromkeys(THREADS, "1"))


def _follow(waiting: set[Future[NotebookRun]], number: int) -> list[NotebookRun]:
    """Print a line as each run ends, and a sign of life between."""
    start_s, runs = time.monotonic(), list[NotebookRun]()
    while waiting:
        done, waiting = wait(waiting, timeout=NEWS_INTERVAL_S, return_when=FIRST_COMPLETED)
        elapsed_s = time.monotonic() - start_s
        if not done:
            print(f"  {elapsed_s:4.0f} s: {len(waiting)} of {number} not finished yet", flush=True)
        for future in done:
            runs.append(run := future.result())
            state = "failed" if run.failure else "done"
            print(
                f"  {elapsed_s:4.0f} s: {run.name} {state} in {run.elapsed_s:.0f} s, "
                f"{run.processor_s:.0f} s of processor",
                flush=True,
            )
    return runs


def _run_one(path: Path, target: Path) -> NotebookRun:
    """In a worker: execute, normalise, store. The kernel is this process's only child, hence the difference."""
    print(f"         {path.stem} starts", flush=True)
    start_s, before_s = time.monotonic(), _children_s()
    made_by, scratch = fingerprints(read_notebook(path)), _scratch(target)
    failure = _execute(path, scratch, {})
    elapsed_s, processor_s = time.monotonic() - start_s, _children_s() - before_s
    if failure is None:
        notebook = normalise(read_notebook(scratch))
        notebook.metadata["usjepa"] = made_by
        write_text(target, to_text(notebook))
        scratch.unlink()
    elif target != path:
        failure += _keep_failed(scratch, target)
    else:
        scratch.unlink(missing_ok=True)
    return NotebookRun(path.stem, round(elapsed_s, 1), round(processor_s, 1), failure)


def _execute(path: Path, target: Path, parameters: Mapping[str, object]) -> str | None:
    """Run one notebook with papermill from its own folder; gives what failed in words, or None."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        papermill.execute_notebook(
            path.resolve(),
            target.resolve(),
            parameters=dict(parameters),
            kernel_name="python3",
            language="python",
            progress_bar=False,
            cwd=path.resolve().parent,
            execution_timeout=CELL_TIMEOUT_S,
        )
    except PapermillExecutionError as error:
        return f"{path}: cell [{error.exec_count}] raised {error.ename}: {error.evalue}"
    except (CellTimeoutError, DeadKernelError) as error:
        return f"{path}: {type(error).__name__}: {error}"
    return None


def _scratch(target: Path) -> Path:
    return target.with_name(f".{target.stem}.part.ipynb")


def _keep_failed(scratch: Path, target: Path) -> str:
    """Keep a failed notebook where no one takes it for a finished one; gives the words that say where."""
    if not scratch.exists():
        return ""
    kept = target.with_suffix(".failed.ipynb")
    os.replace(scratch, kept)
    return f" (kept as {kept})"


def _children_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
