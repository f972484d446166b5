"""Every notebook runs from top to bottom, and is stored with what it shows."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

QUICK = {"quick_start", "token_classification"}  # run by `make test`; the others by `make test-slow`
NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))
TIMEOUT_SECONDS = 600
EXTRA = {"quick_start", "custom_parts", "from_transformers", "hyperparameter_search"}
PRINTS = re.compile(r"^(for .*:\n    )?print\(", re.MULTILINE)  # outside of functions
SHOWN = {"stream", "display_data", "execute_result"}

# In a process of its own: what Jupyter leaves behind in one, such as event loops and threads, ends with it.
EXECUTE = """
import sys
import nbformat
from nbclient import NotebookClient
source, target, folder, timeout = sys.argv[1:]
notebook = nbformat.read(source, as_version=4)
resources = {"metadata": {"path": folder}}
NotebookClient(notebook, timeout=int(timeout), kernel_name="python3", resources=resources).execute()
nbformat.write(notebook, target)
"""

# The button of a notebook: a kernel is interrupted while a cell trains, and the next cell is run.
INTERRUPT = """
import sys, threading
from jupyter_client.manager import start_new_kernel
manager, client = start_new_kernel(kernel_name="python3")
button = threading.Timer(0.5, manager.interrupt_kernel)

def hear(message):
    content = message["content"]
    if message["msg_type"] == "update_display_data" and not button.ident:
        button.start()
    if content.get("name") == "stdout":
        print(content["text"], end="")

train = f'''
from tests.faults import runs
trainer = runs.build({sys.argv[1]!r}, max_steps=50000, save_steps=50000, logging_steps=1, disable_tqdm=False)
print("returned", trainer.train().global_step)
'''
then = f'''
from pathlib import Path
print(*sorted(path.name for path in Path({sys.argv[1]!r}).glob("checkpoint-*")))
'''
try:
    client.execute_interactive(train, output_hook=hear, timeout=90)
    client.execute_interactive(then, output_hook=hear, timeout=60)
finally:
    client.stop_channels()
    manager.shutdown_kernel(now=True)
"""


def _ids(path: Path) -> str:
    return path.stem


def _code_cells(path: Path) -> list[dict[str, Any]]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code" and cell["source"]]


def _kinds(cell: dict[str, Any]) -> set[str]:
    """What a cell shows; how often says little, since a stream may come in pieces."""
    return {output.get("name", output["output_type"]) for output in cell["outputs"]}


def _code(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def _marked(path: Path) -> Any:
    return pytest.param(path, id=path.stem, marks=[] if path.stem in QUICK else [pytest.mark.slow])


def execute(source: Path, target: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs a notebook in `folder`/work, with settings of nobody's."""
    (folder / "work").mkdir(exist_ok=True)
    settings = {f"JUPYTER_{kind}_DIR": str(folder / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")}
    settings |= {"IPYTHONDIR": str(folder / "ipython"), "JUPYTER_PLATFORM_DIRS": "1"}
    return subprocess.run(
        [sys.executable, "-c", EXECUTE, str(source), str(target), str(folder / "work"), str(TIMEOUT_SECONDS)],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS + 60,
        check=False,
    )


def test_there_is_a_notebook_for_each_task_and_more() -> None:
    from lt_trainer.tasks.registry import TASKS

    there = {path.stem for path in NOTEBOOKS}
    assert there >= {task.replace("-", "_") for task in TASKS} | EXTRA
    listed = (NOTEBOOKS[0].parent / "README.md").read_text(encoding="utf-8")
    assert [name for name in there if f"]({name}.ipynb)" not in listed] == []


@pytest.mark.parametrize("path", [_marked(path) for path in NOTEBOOKS])
def test_notebook_runs_and_shows_what_is_stored(path: Path, tmp_path: Path) -> None:
    if path.stem == "from_transformers":
        pytest.importorskip("transformers")
    if path.stem == "hyperparameter_search":
        pytest.importorskip("matplotlib")
    for package in ("nbclient", "ipykernel", "ipywidgets"):
        pytest.importorskip(package, reason=f"{package} runs notebooks: pip install 'lt-trainer[notebooks]'")
    done = execute(path, tmp_path / path.name, tmp_path)

    assert done.returncode == 0, done.stderr[-4000:]
    ran, stored = _code_cells(tmp_path / path.name), _code_cells(path)
    assert [_kinds(cell) for cell in ran] == [_kinds(cell) for cell in stored]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=_ids)
def test_stored_outputs_are_those_of_one_run_from_the_top(path: Path) -> None:
    cells = _code_cells(path)

    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=_ids)
def test_what_a_cell_prints_is_stored(path: Path) -> None:
    talkative = [cell for cell in _code_cells(path) if PRINTS.search(_code(cell))]

    assert talkative
    assert [_code(cell) for cell in talkative if not cell["outputs"]] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=_ids)
def test_each_says_how_to_take_own_data_and_a_model_of_the_hub(path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    text = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown").lower()

    assert "your own" in text
    assert "hub" in text


OWN = """
import lt_trainer as lt
args = lt.TrainingArguments("run", num_train_epochs=15, learning_rate=1e-3, report_to="none")
trainer = lt.Trainer("scratch", args, task="text-classification", train_dataset="mine.csv")
trainer.train()
trainer.save_model()
tokenizer, model = lt.AutoTokenizer.from_pretrained("run"), lt.AutoModelForSequenceClassification.from_pretrained("run")
answers = model(**tokenizer(["warm and kind", "grey and sad"], padding=True, return_tensors="pt")).logits.argmax(-1)
print([model.config.id2label[number] for number in answers.tolist()])
"""


@pytest.mark.slow
def test_a_csv_becomes_a_model_in_a_cell_of_ten_lines(tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("nbclient")
    (tmp_path / "work").mkdir()
    rows = ["warm and kind,happy", "grey and sad,sorry", "a kind word,happy", "a sad day,sorry"] * 8
    (tmp_path / "work" / "mine.csv").write_text("\n".join(["text,label", *rows]), encoding="utf-8")
    cell = nbformat.v4.new_code_cell(OWN.strip())
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "own.ipynb")

    done = execute(tmp_path / "own.ipynb", tmp_path / "ran.ipynb", tmp_path)

    assert done.returncode == 0, done.stderr[-4000:]
    outputs = json.loads((tmp_path / "ran.ipynb").read_text(encoding="utf-8"))["cells"][0]["outputs"]
    assert "['happy', 'sorry']\n" in "".join("".join(o.get("text", "")) for o in outputs)
    assert (tmp_path / "work" / "run" / "model.safetensors").is_file()


@pytest.mark.slow
def test_interrupting_a_cell_saves_the_step_and_returns(tmp_path: Path) -> None:
    for package in ("jupyter_client", "ipykernel"):
        pytest.importorskip(package, reason=f"{package} runs notebooks: pip install 'lt-trainer[notebooks]'")
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPT, str(tmp_path)], capture_output=True, text=True, timeout=180, check=False
    )

    assert done.returncode == 0, done.stderr[-4000:]
    said = done.stdout.split()
    assert said[0] == "returned"
    assert 0 < int(said[1]) < 50000
    assert said[2:] == [f"checkpoint-{said[1]}"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=_ids)
def test_stored_outputs_hold_no_warnings_and_no_absolute_paths(path: Path) -> None:
    outputs = [output for cell in _code_cells(path) for output in cell["outputs"]]
    text = json.dumps(outputs)

    assert {output["output_type"] for output in outputs} <= SHOWN
    assert [output for output in outputs if output.get("name") == "stderr"] == []
    assert re.findall(r"[\w.]*(?:Warning|Error)\b", text) == []
    assert re.findall(r"(?<![\w.])/(?:home|root|tmp|Users|usr|opt|work|var)/[^\s\"]*", text) == []
