"""The notebooks: each runs from its first cell to its last, and lies in the repository without what it printed."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
FOR_REAL_DATA = 'name, where = "SP072", {"one": "~/one", "roicat_root": "~/chronic_csv"}'
# pictures that each shows, and words that it prints
SHOWN = {
    "1_session_to_raster": (3, ["n_neurons", "no label"]),
    "2_tracking": (1, ["n_shared", "2025-01-13 and 2025-01-14 share"]),
    "3_neuron_dropping_curves": (1, ["workers suggested", "finished: ", "k_star", "report.html"]),
    "4_generalisation": (2, ["accuracy", "null_high"]),
    "5_laptop_to_slurm": (0, ["#SBATCH", "nothing was submitted", "finished"]),
}


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all of them run, one after the other, so that they share the simulated subject."""
    return tmp_path_factory.mktemp("notebooks")


def test_all_are_known() -> None:
    assert [path.stem for path in NOTEBOOKS] == sorted(SHOWN)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_stripped(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.metadata, f"{path.name}: cell {cell.id} carries {cell.metadata}"
        if cell.cell_type == "code":
            assert cell.outputs == [], f"{path.name}: cell {cell.id} has outputs; clear them all before you commit"
            assert cell.execution_count is None
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert sum(FOR_REAL_DATA in cell.source for cell in notebook.cells) == 1
    assert max(len(cell.source.splitlines()) for cell in notebook.cells if cell.cell_type == "code") <= 10


@pytest.mark.notebook
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setenv("IPYTHONDIR", str(folder / "ipython"))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    notebook = read(path)
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    complaints = "".join(output.text for output in outputs if output.get("name") == "stderr").splitlines()
    # on a busy machine a worker takes its time to end
    assert [line for line in complaints if "Worker process still alive" not in line] == []
    texts = [output.text if "text" in output else output.data.get("text/plain", "") for output in outputs]
    n_pictures, words = SHOWN[path.stem]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == n_pictures
    for word in words:
        assert word in "\n".join(texts)
