"""The example notebook: committed as executed, and it still runs from top to bottom."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).resolve().parents[2] / "examples" / "notebook" / "build-and-diff.ipynb"


def read_notebook() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def cells_with_code(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def text_of(cell: nbformat.NotebookNode) -> str:
    return "".join(output["text"] for output in cell.outputs if output.output_type == "stream" and output.name == "stdout")


def check_outputs(notebook: nbformat.NotebookNode) -> None:
    cells = cells_with_code(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for cell in cells for output in cell.outputs if output.output_type == "error"]
    declared, locked, built, rebuilt, compared = (text_of(cell) for cell in cells[-5:])
    assert re.search(r"^entrypoint +python score.py$", declared, re.MULTILINE)
    assert re.search(r"^  numpy \S+  [0-9,]+ bytes$", locked, re.MULTILINE)
    assert built.index(" python ") < built.index(" numpy ") < built.index(" code ") < built.index(" model.pkl ")
    assert re.fullmatch(r"(new: model\.pkl, [0-9]+ bytes; 6 of 7 layers stay\n)+", rebuilt)
    assert re.match(r"model\.pkl: [0-9]+ bytes\nwherry +[0-9,]+ bytes +[0-9.,]+ USD\none layer ", compared)


def test_it_is_committed_as_executed() -> None:
    notebook = read_notebook()
    check_outputs(notebook)
    bars = [output for cell in cells_with_code(notebook) for output in cell.outputs if output.output_type == "display_data"]
    assert any("100%" in bar["data"]["text/plain"] for bar in bars)


@pytest.mark.network
def test_it_runs(tmp_path: Path) -> None:
    notebook = read_notebook()
    for cell in cells_with_code(notebook):
        cell.outputs, cell.execution_count = [], None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the client: sockets that its event loop closes late
        NotebookClient(notebook, timeout=500, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    check_outputs(notebook)
    shown = [output for cell in cells_with_code(notebook) for output in cell.outputs if output.output_type == "display_data"]
    assert shown, "no progress was drawn"
