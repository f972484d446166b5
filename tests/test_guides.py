"""What the guides say is so: their code and commands run, their links lead somewhere, their messages are ours."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from lt_trainer import cli
from tests.pages import blocks, commands, write_files, write_models

ROOT = Path(__file__).resolve().parents[1]
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
GUIDES = ("tasks", "search", "from_transformers", "from_lightning")
NO_CODE = {"arguments", "benchmarks", "glossary", "index", "log", "troubleshooting"}
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*smaller than the logging interval"
)


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with the files and models that the guides name."""
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path)
    write_models(tmp_path)
    (tmp_path / "search.yaml").write_text(blocks(PAGES["search"], "yaml")[0], encoding="utf-8")
    return tmp_path


def sections(page: str) -> list[str]:
    return re.split(r"^(?=## )", page, flags=re.MULTILINE)


@pytest.mark.parametrize("name", GUIDES)
def test_the_code_of_a_guide_runs_from_top_to_bottom(name, workplace):
    assert blocks(PAGES[name], "python")
    names = {"__name__": "__main__"}
    for block in blocks(PAGES[name], "python"):
        exec(compile(block, f"{name}.md", "exec"), names)


@pytest.mark.parametrize("name", GUIDES)
def test_the_commands_of_a_guide_run(name, workplace, capsys):
    for line in commands(PAGES[name], "lt-trainer"):
        assert cli.main(shlex.split(line)[1:]) == 0, f"{line}: {capsys.readouterr().err}"


def test_every_command_of_a_guide_is_one_of_ours():
    lines = [line for name in GUIDES for line in commands(PAGES[name], "")]
    assert [line for line in lines if not line.startswith("lt-trainer ")] == []
    assert len(lines) >= 8


def test_pages_with_code_are_run_here():
    with_code = {name for name, page in PAGES.items() if blocks(page, "python") or blocks(page, "sh")}
    assert with_code - NO_CODE == set(GUIDES)
    assert NO_CODE | set(GUIDES) == set(PAGES)


def test_every_task_has_its_section():
    from lt_trainer.tasks.registry import TASKS

    text = PAGES["tasks"]
    assert all(f'task="{task}"' in text and f"-c {task} " in text for task in TASKS)


@pytest.mark.parametrize("name", PAGES)
def test_the_links_of_a_page_lead_somewhere(name):
    links = [link for link in re.findall(r"\]\(([^)#]+)", PAGES[name]) if "://" not in link]
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []


def test_every_page_is_in_the_table_of_contents():
    listed = blocks(PAGES["index"], r"\{toctree\}")[0].split("\n\n")[1].split()
    assert set(listed) == set(PAGES) - {"index"}


def messages() -> str:
    """All text of the package in one: the fixed parts of its messages among it."""
    found = []
    for path in (ROOT / "lt_trainer").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


def test_the_messages_that_are_explained_are_those_of_the_package():
    headings = re.findall(r"^### `(.*)`$", PAGES["troubleshooting"], flags=re.MULTILINE)
    ours = messages()
    theirs = {"CUDA out of memory"}
    parts = [part.strip() for heading in headings if heading not in theirs for part in heading.split("...")]
    assert len(headings) > 15
    assert [part for part in parts if part not in ours] == []


@pytest.mark.slow
def test_the_pages_are_built_without_a_warning(tmp_path):
    for package in ("sphinx", "furo", "myst_parser"):
        pytest.importorskip(package, reason=f"{package} builds the pages: pip install 'lt-trainer[docs]'")
    target = tmp_path / "html"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "sphinx",
            "-b",
            "html",
            "-W",
            "--keep-going",
            "-q",
            "-d",
            tmp_path / "trees",
            "docs",
            target,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert {f"{name}.html" for name in PAGES} <= {path.name for path in target.iterdir()}
