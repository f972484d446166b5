"""The shape of the project: layers, cycles, links, import costs, public names."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import lt_trainer

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "lt_trainer"
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def python(code: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd, timeout=120)


# --- imports ----------------------------------------------------------------------------------------------------------


def imports_of(name: str) -> set[str]:
    """The modules of the package that a module imports anywhere in its code, TYPE_CHECKING blocks aside."""
    tree = ast.parse(MODULES[name].read_text())
    found: set[str] = set()
    for node in _without_type_checking(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative import"
            base = node.module or ""
            found.update(f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base for alias in node.names)
    return {module for module in found if module in MODULES and module != name}


def _without_type_checking(node: ast.AST):
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _without_type_checking(child)


def test_no_import_cycle():
    graph = {name: imports_of(name) for name in MODULES if name != "lt_trainer"}
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> None:
        if name in path:
            pytest.fail("import cycle: " + " -> ".join([*path[path.index(name) :], name]))
        if name not in done and name in graph:
            for other in sorted(graph[name]):
                visit(other, [*path, name])
            done.add(name)

    for name in graph:
        visit(name, [])


def test_the_cycle_test_sees_imports_inside_functions():
    tree = ast.parse("def f():\n    from lt_trainer.state import TrainerState\n")
    assert any(isinstance(node, ast.ImportFrom) for node in _without_type_checking(tree))


def rows_of_the_layer_rule() -> list[set[str]]:
    """The rows of the contract in pyproject.toml, the lowest first."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = next(contract for contract in settings["contracts"] if contract["type"] == "layers")["layers"]
    return [{name.strip(" ()") for name in layer.split(":")} for layer in reversed(layers)]


def row_of(name: str) -> int | None:
    for row, members in enumerate(rows_of_the_layer_rule()):
        for member in members:
            if name == f"lt_trainer.{member}" or name.startswith(f"lt_trainer.{member}."):
                return row
    return None


def test_every_module_has_a_row_in_the_layer_rule():
    free = {"lt_trainer", "lt_trainer.__main__", "lt_trainer.checkpoint"}
    assert not [name for name in MODULES if name not in free and row_of(name) is None]


@pytest.mark.parametrize("name", [name for name in MODULES if row_of(name) is not None])
def test_a_module_imports_only_from_its_own_row_and_those_below(name):
    row = row_of(name)
    assert row is not None
    above = {other: row_of(other) for other in imports_of(name) if (row_of(other) or 0) > row}
    assert not above


def test_arguments_and_state_import_no_torch():
    code = (
        "import sys, lt_trainer.args.fields, lt_trainer.args.plan, lt_trainer.state\n"
        "print([m for m in ('torch', 'lightning', 'numpy', 'transformers') if m in sys.modules])"
    )
    assert python(code).stdout.strip() == "[]"


# --- import costs -----------------------------------------------------------------------------------------------------


def test_importing_the_package_takes_under_03_cpu_seconds_and_no_torch():
    code = (
        "import sys, time; start = time.process_time(); import lt_trainer\n"
        "print(time.process_time() - start, 'torch' in sys.modules)"
    )
    done = python(code)
    seconds, has_torch = done.stdout.split()
    assert float(seconds) < 0.3, done.stderr
    assert has_torch == "False"


def test_models_and_data_import_no_lightning():
    names = [n for n in MODULES if n.startswith(("lt_trainer.models.", "lt_trainer.data.", "lt_trainer.tokenization."))]
    code = f"import sys, importlib\n[importlib.import_module(n) for n in {names}]\nprint('lightning' in sys.modules)"
    done = python(code)
    assert done.stdout.strip() == "False", done.stderr


def test_the_facade_is_imported_without_lightning():
    """It is imported when a Trainer is made: a script that only looks at arguments does not wait for it."""
    code = "import sys, lt_trainer\nlt_trainer.Trainer, lt_trainer.TrainingArguments\nprint('lightning' in sys.modules)"
    assert python(code).stdout.strip() == "False"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks a process for each module")
def test_every_module_imports_on_its_own():
    """None counts on another one having been imported before. Libraries come first, then each module in a fork."""
    done = python(IMPORT_EACH.format(names=[name for name in MODULES if not name.endswith("__main__")]))
    assert done.stdout.split() == [], done.stderr


IMPORT_EACH = """
import importlib, os, datasets, lightning.pytorch, tokenizers, torchmetrics, traceback
for name in {names}:
    child = os.fork()
    if child == 0:
        try:
            importlib.import_module(name)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        print(name)
"""


# --- public names -----------------------------------------------------------------------------------------------------


def test_public_names_are_pinned():
    """A name that goes is a break for somebody; a name that comes is a promise."""
    assert set(lt_trainer.__all__) >= {
        "AutoConfig",
        "AutoModel",
        "AutoModelForMaskedLM",
        "AutoModelForMultipleChoice",
        "AutoModelForSequenceClassification",
        "AutoTokenizer",
        "BertConfig",
        "BertForSequenceClassification",
        "BertTokenizerFast",
        "CausalLM",
        "CausalLMData",
        "DataCollatorForLanguageModeling",
        "DataCollatorForPermutationLanguageModeling",
        "DataCollatorForWholeWordMask",
        "DataCollatorWithFlattening",
        "DataCollatorWithPadding",
        "DefaultDataCollator",
        "DistilBertForMaskedLM",
        "EarlyStoppingCallback",
        "EvalPrediction",
        "GPT2LMHeadModel",
        "GPT2TokenizerFast",
        "GenerationConfig",
        "HfArgumentParser",
        "MaskedLM",
        "MaskedLMData",
        "PreTrainedModel",
        "PreTrainedTokenizerFast",
        "QuestionAnswering",
        "QuestionAnsweringData",
        "RobertaForTokenClassification",
        "SchedulerType",
        "Seq2SeqTrainer",
        "Seq2SeqTrainingArguments",
        "T5EncoderModel",
        "T5ForConditionalGeneration",
        "T5Tokenizer",
        "TextClassification",
        "TextClassificationData",
        "TokenClassification",
        "TokenClassificationData",
        "Trainer",
        "TrainerCallback",
        "TrainerControl",
        "TrainerState",
        "TrainingArguments",
        "default_data_collator",
    }


@pytest.mark.parametrize("name", lt_trainer.__all__)
def test_every_public_name_is_there(name):
    assert getattr(lt_trainer, name) is not None


def test_type_checkers_and_users_see_the_same_names():
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    declared = {
        (alias.asname, node.module) for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert declared == {(name, f"lt_trainer.{home}") for name, home in lt_trainer._HOME.items()}


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Trainr'"):
        lt_trainer.Trainr  # noqa: B018


# --- links, files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tasks", "callbacks"])
def test_the_links_at_the_top_lead_into_the_package(name):
    assert (ROOT / name).is_symlink()
    assert (ROOT / name).readlink() == Path("lt_trainer") / name


@pytest.mark.parametrize("name", ["tasks", "callbacks"])
def test_importing_through_a_link_says_what_to_import_instead(name):
    done = python(f"import {name}")
    assert done.returncode == 1
    assert "ImportError" in done.stderr
    assert f"lt_trainer.{name}" in done.stderr


def test_every_version_that_is_pinned_satisfies_its_range():
    packaging = pytest.importorskip("packaging.requirements")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    pinned = dict(
        line.lower().replace("_", "-").split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    )
    for requirement in map(packaging.Requirement, asked):
        version = pinned.get(requirement.name.lower().replace("_", "-"))
        assert version is None or version in requirement.specifier, (str(requirement), version)
    assert not any("+" in version for version in pinned.values())


def test_the_withdrawn_versions_of_lightning_are_excluded():
    packaging = pytest.importorskip("packaging.requirements")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lightning = next(r for r in map(packaging.Requirement, project["dependencies"]) if r.name == "lightning")
    assert not any(version in lightning.specifier for version in ("2.6.2", "2.6.3"))
