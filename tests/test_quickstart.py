"""The assertions of the quickstart can fail: a named fault in the method stops it at the cell that should notice."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

QUICKSTART = Path(__file__).parents[1] / "notebooks" / "00-quickstart.ipynb"

NO_TEACHER = """
# The student is its own teacher, and the gradient flows into the targets: nothing holds features apart.
import usjepa.model.jepa as module
module.make_teacher = lambda student: student
module.target_features = lambda teacher, clip: torch.nn.functional.layer_norm(teacher(clip), (64,), eps=1e-5)
"""
HEAD_NOT_TRAINED = """
# Eq. 4 leaves the localisation term out, so that the head keeps its random start.
import usjepa.model.jepa as module
module.combined_loss = lambda prediction, localisation, prediction_weight: prediction
"""
SHUFFLED_LABELS = """
# Each training film gets another film's outlines: only what all hearts share can still be learned.
import usjepa.training.segment as module
true_labels = module.whole_labels
def shuffled(store, entries, clip):
    labels = true_labels(store, entries, clip)
    is_training = entries[0].split == "train"
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))] if is_training else labels
module.whole_labels = shuffled
"""


def run_with(fault: str) -> nbformat.NotebookNode:
    """Run the quickstart with a fault injected after its set-up, up to the first cell that raises."""
    notebook = nbformat.read(QUICKSTART, as_version=4)
    (setup,) = [cell for cell in notebook.cells if cell.id == "setup"]
    setup.source += fault
    client = NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": QUICKSTART.parent}}
    )
    with pytest.raises(CellExecutionError):
        client.execute()
    return notebook


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "cell"),
    [(NO_TEACHER, "check-collapse"), (HEAD_NOT_TRAINED, "check-losses"), (SHUFFLED_LABELS, "check-dsc")],
    ids=["no-teacher", "head-not-trained", "shuffled-labels"],
)
def test_a_named_fault_fails_at_its_check(fault: str, cell: str) -> None:
    notebook = run_with(fault)
    errors = [(one.id, out) for one in notebook.cells for out in one.get("outputs", []) if out.output_type == "error"]
    assert [(where, out.ename, out.evalue) for where, out in errors] == [(cell, "AssertionError", "")]
