"""Execute notebooks headlessly, two at a time, each in a process of its own."""

import json
import multiprocessing
import os
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import papermill
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError

from usjepa.errors import InputError
from usjepa.notebooks.files import read_notebook, to_text, write_text
from usjepa.notebooks.normal import normalise
from usjepa.notebooks.uses import fingerprints

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


def run_notebooks(paths: Sequence[Path], *, out: Path | None, times: Path) -> list[NotebookRun]:
    """Execute notebooks with their default parameters and store them normalised.

    In place, or under their own names in the folder `out`, where the originals stay untouched. Each runs in its own
    folder with one thread. Prints which runs and for how long, and writes the times to the JSON file `times`. Raises
    InputError naming each notebook that failed and the cell; a failed notebook is stored in `out` only.
    """
    for path in paths:
        read_notebook(path)
    targets = [path if out is None else out / path.name for path in paths]
    runs = run_all([partial(_run_one, path, target) for path, target in zip(paths, targets, strict=True)])
    runs.sort(key=lambda run: run.name)
    write_text(times, json.dumps([asdict(run) for run in runs], indent=1) + "\n")
    if failures := [run.failure for run in runs if run.failure]:
        raise InputError("\n".join(failures))
    return runs


def run_all(work: Sequence[Callable[[], NotebookRun]]) -> list[NotebookRun]:
    """Do all of it, two at a time in worker processes; prints a line as each run ends, and a sign of life between."""
    start_s, runs = time.monotonic(), list[NotebookRun]()
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn"), initializer=_one_thread) as pool:
        waiting = {pool.submit(one) for one in work}
        while waiting:
            done, waiting = wait(waiting, timeout=NEWS_INTERVAL_S, return_when=FIRST_COMPLETED)
            elapsed_s = time.monotonic() - start_s
            if not done:
                print(f"  {elapsed_s:4.0f} s: {len(waiting)} of {len(work)} not finished yet", flush=True)
            for future in done:
                runs.append(run := future.result())
                state = f"{'failed' if run.failure else 'done'} in {run.elapsed_s:.0f} s"
                print(f"  {elapsed_s:4.0f} s: {run.name} {state}, {run.processor_s:.0f} s of processor", flush=True)
    return runs


def execute(
    path: Path, notebook: NotebookNode, target: Path, parameters: Mapping[str, object]
) -> tuple[float, str | None]:
    """Run a notebook that was read from `path` with papermill, in its folder, and write it to `target`.

    Gives processor seconds, and what failed in words or None. The kernel has to be this process's only child.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    before_s, failure = _children_s(), None
    try:
        papermill.execute_notebook(
            notebook,
            target.resolve(),
            parameters=dict(parameters),
            kernel_name="python3",
            language="python",
            progress_bar=False,
            cwd=path.resolve().parent,
            execution_timeout=CELL_TIMEOUT_S,
        )
    except PapermillExecutionError as error:
        failure = f"{path}: cell [{error.exec_count}] raised {error.ename}: {error.evalue}"
    except (CellTimeoutError, DeadKernelError) as error:
        failure = f"{path}: {type(error).__name__}: {error}"
    return round(_children_s() - before_s, 1), failure


def scratch_of(target: Path) -> Path:
    """Where a notebook lies until it has run to its end."""
    return target.with_name(f".{target.stem}.part.ipynb")


def keep_failed(scratch: Path, target: Path) -> str:
    """Keep a failed notebook where no one takes it for a finished one; gives the words that say where."""
    if not scratch.exists():
        return ""
    kept = target.with_suffix(".failed.ipynb")
    os.replace(scratch, kept)
    return f" (kept as {kept})"


def _one_thread() -> None:
    """Two notebooks share the machine, and sums in another order would round otherwise: one thread each."""
    os.environ.update(dict.fromkeys(THREADS, "1"))


def _run_one(path: Path, target: Path) -> NotebookRun:
    """In a worker: execute, normalise, store."""
    print(f"         {path.stem} starts", flush=True)
    notebook, scratch, start_s = read_notebook(path), scratch_of(target), time.monotonic()
    made_by = fingerprints(notebook, path.parent)
    processor_s, failure = execute(path, notebook, scratch, {})
    if failure is None:
        stored = normalise(read_notebook(scratch))
        stored.metadata["usjepa"] = made_by
        write_text(target, to_text(stored))
        scratch.unlink()
    elif target != path:
        failure += keep_failed(scratch, target)
    else:
        scratch.unlink(missing_ok=True)
    return NotebookRun(path.stem, round(time.monotonic() - start_s, 1), processor_s, failure)


def _children_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
