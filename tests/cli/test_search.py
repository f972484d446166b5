"""`lt-trainer search`: its section and flags, and the command from a file to a configuration that fits again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lt_trainer.args.check import ConfigurationError
from lt_trainer.cli.line import scan
from lt_trainer.cli.request import Request, read_request
from lt_trainer.search_options import Draw

Run = Callable[..., Any]
FILE = """\
task: text-classification
args:
  output_dir: out
search:
  n_trials: 7
  sampler: random
  space:
    learning_rate: {low: 1e-5, high: 1e-3, log: true}
    seed: 1..9
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(FILE)
    return path


def asked(file: Path, *argv: str, command: str = "search") -> Request:
    return read_request(command, scan(["-c", str(file), "--print_config", *argv]))


def problems(file: Path, *argv: str) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        asked(file, *argv)
    return caught.value.problems


def test_a_file_holds_the_space_and_the_options(file: Path) -> None:
    search = asked(file).search
    assert search is not None
    assert (search.n_trials, search.sampler, search.pruner) == (7, "random", "median")
    assert search.space is not None
    assert search.space.draws == {"learning_rate": Draw("float", 1e-5, 1e-3, log=True), "seed": Draw("int", 1, 9)}


@pytest.mark.parametrize(
    ("argv", "name", "draw"),
    [
        (["--space.learning_rate", "1e-4..1e-3", "log"], "learning_rate", Draw("float", 1e-4, 1e-3, log=True)),
        (["--space.seed", "4", "5"], "seed", Draw("categorical", choices=(4, 5))),
        (["--space.seed", "4"], "seed", Draw("categorical", choices=(4,))),
        (["--search.space.seed", "[4, 5]"], "seed", Draw("categorical", choices=(4, 5))),
        (["--space.seed", '{"low": 1, "high": 2}'], "seed", Draw("int", 1, 2)),
        (["--space.bf16", "true", "false"], "bf16", Draw("categorical", choices=(True, False))),
    ],
)
def test_the_line_wins_over_the_file(file: Path, argv: list[str], name: str, draw: Draw) -> None:
    search = asked(file, *argv, "--n_trials", "3", "--search.pruner=none").search
    assert search is not None
    assert search.space is not None
    assert search.space.draws[name] == draw
    assert (search.n_trials, search.pruner) == (3, "none")


def test_none_on_the_line_takes_back_what_the_file_says(file: Path) -> None:
    search = asked(file, "--sampler", "None").search
    assert search is not None
    assert search.sampler is None


def test_without_a_space_there_is_the_default(tmp_path: Path) -> None:
    search = asked(Path("text-classification")).search
    assert search is not None
    assert search.space is None


def test_fit_passes_over_the_section_and_refuses_the_flags(file: Path) -> None:
    assert asked(file, command="fit").search is None
    with pytest.raises(ConfigurationError, match="--n_trials: no such name"):
        asked(file, "--n_trials", "3", command="fit")


def test_problems_name_file_and_line(file: Path) -> None:
    file.write_text(
        FILE.replace("seed: 1..9", "sed: 1..9").replace("n_trials: 7", "n_trials: 0").replace("random", "randm")
    )
    known = "'tpe', 'random', 'cmaes', 'gp', 'qmc', 'nsgaii'"
    assert problems(file) == (
        f"{file}:9: search.space.sed: is no argument of TrainingArguments; did you mean 'seed'?; correct the name",
        f"{file}:5: search.n_trials=0: expected 1 or more",
        f"{file}:6: search.sampler='randm': expected one of {known}; did you mean 'random'?",
    )


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        (["--space.learning_rate", "2..1"], "--space.learning_rate: low 2.0 is above high 1.0"),
        (["--n_trials", "many"], "--n_trials='many': expected a whole number"),
        (["--n_trials", "1", "2"], "--n_trials: expected one value after it, received 2"),
        (["--pruner", "medan"], "--pruner='medan': expected one of"),
        (["--search.prunner", "median"], "--prunner: no such name; did you mean 'pruner'?"),
        (["--n_trils", "3"], "--n_trils: no such name; did you mean 'n_trials'?"),
    ],
)
def test_problems_of_the_line_name_the_option(file: Path, argv: list[str], problem: str) -> None:
    (found,) = problems(file, *argv)
    assert found.startswith(problem)


def test_the_section_must_hold_names(file: Path) -> None:
    file.write_text("task: text-classification\nsearch:\n  space: wide\n")
    assert "run.yaml:3: search.space: expected `name: value` lines under it" in problems(file)[0]


def test_a_printed_configuration_is_read_back(file: Path, tmp_path: Path) -> None:
    request = asked(file)
    (tmp_path / "again.yaml").write_text(request.as_yaml())
    again = asked(tmp_path / "again.yaml")
    assert (again.search, again.args) == (request.search, request.args)


def test_rows_to_judge_by_are_needed(lt_trainer: Run, rows: dict[str, Path]) -> None:
    answer = lt_trainer(
        "search", "text-classification", "--model", "scratch", "--train_file", rows["train"], "--output_dir", "out"
    )
    assert answer.code == 2
    assert "search needs rows to judge trials by: give --validation_file FILE" in answer.err


def test_help_lists_what_a_search_takes(lt_trainer: Run) -> None:
    answer = lt_trainer("search", "--help")
    assert all(word in answer.out for word in ("--space.ARGUMENT", "--n_trials", "hyperband", "sqlite:///"))


@pytest.fixture
def search(lt_trainer: Run, rows: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A search over a small model; options may be added."""
    monkeypatch.chdir(tmp_path)

    def run(*argv: object) -> Any:
        options = ["--model", "scratch", "--train_file", rows["train"], "--validation_file", rows["dev"]]
        options += ["--output_dir", "out", "--max_steps", 2, "--eval_strategy", "steps", "--eval_steps", 1]
        options += ["--report_to", "none", "--use_cpu", "--save_strategy", "no", "--n_trials", 2]
        options += ["--space.learning_rate", "1e-4..1e-2", "log", "--space.seed", 1, 2, 3]
        return lt_trainer("search", "text-classification", *options, *argv)

    return run


def test_the_best_configuration_fits_to_the_weights_of_its_trial(search: Run, lt_trainer: Run) -> None:
    answer = search()
    assert answer.code == 0, answer.err
    *head, first, second, _, best, where, how = answer.out.splitlines()
    assert [line.split()[:2] for line in (first, second)] == [["0", "complete"], ["1", "complete"]]
    assert head[-1].split() == ["trial", "state", "seconds", "eval_loss", "learning_rate", "seed"]
    assert best.startswith("best: trial ")
    assert " with the lowest eval_loss, " in best
    folder = where.split()[-1]
    assert how == f"to train it again: lt-trainer fit --config {folder}/config.yaml --output_dir out/best"
    assert "search" not in yaml.safe_load(Path(folder, "config.yaml").read_text())
    again = lt_trainer(*how.partition("lt-trainer ")[2].split())
    assert again.code == 0, again.err
    first_weights, second_weights = (Path(name, "model.safetensors").read_bytes() for name in (folder, "out/best"))
    assert first_weights == second_weights
    assert lt_trainer("validate", "-c", f"{folder}/config.yaml").code == 0


def test_a_study_goes_on_and_another_space_is_refused(search: Run) -> None:
    assert search("--storage", "sqlite:///study.db").code == 0
    more = search("--storage", "sqlite:///study.db", "--n_trials", 3)
    assert [line.split()[0] for line in more.out.splitlines()[1:4]] == ["0", "1", "2"]
    other = search("--storage", "sqlite:///study.db", "--n_trials", 4, "--space.seed", 1, 2)
    assert other.code == 2
    assert "study 'search' is of another space: seed was categorical (choices [1, 2, 3]) and is" in other.err
    assert "Traceback" not in other.err


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        (["--storage", "sqlite:////no/such/folder/x.db"], "storage=sqlite:////no/such/folder/x.db: expected a"),
        (["--metric", "f2"], "metric_for_best_model: expected one of"),
        (["--space.per_device_train_batch_size", "8", "--model", "no/such/model"], "no/such/model"),
    ],
)
def test_what_only_a_run_can_find_is_one_message(search: Run, argv: list[str], problem: str) -> None:
    answer = search(*argv)
    assert answer.code == 2
    assert problem in answer.err
    assert "Traceback" not in answer.err
