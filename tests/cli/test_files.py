from __future__ import annotations

from pathlib import Path

import pytest

from lt_trainer.args.check import ConfigurationError
from lt_trainer.cli import files


def written(folder: Path, text: str, name: str = "run.yaml") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_entries_are_dotted_and_know_their_lines(tmp_path: Path) -> None:
    path = written(tmp_path, "task: x\nmodel:\n  init_args:\n    model: bert\nargs:\n\n  learning_rate: 2e-5\n")
    assert [(e.name, e.value, e.origin) for e in files.read(path)] == [
        ("task", "x", f"{path}:1"),
        ("model.model", "bert", f"{path}:4"),
        ("args.learning_rate", 2e-5, f"{path}:7"),
    ]


def test_model_may_be_its_name_alone(tmp_path: Path) -> None:
    (entry,) = files.read(written(tmp_path, "model: bert-base\nargs:\n"))
    assert (entry.name, entry.value) == ("model.model", "bert-base")


def test_json_with_tabs_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, '{\n\t"learning_rate": 2e-5,\n\t"bf16": true\n}\n', "args.json")
    assert [(e.name, e.value) for e in files.read(path)] == [("learning_rate", 2e-5), ("bf16", True)]


def test_merges_of_anchors_give_way_to_what_stands_there(tmp_path: Path) -> None:
    path = written(tmp_path, "data: &d\n  train: a.csv\n  label_column: y\nargs:\n  <<: *d\n  train: b.csv\n")
    assert {e.name: e.value for e in files.read(path)}["args.train"] == "b.csv"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("args:\n  seed: 1\n  seed: 2\n", ":3: 'seed' stands here again, first in line 2"),
        ("args: [1]\n", ":1: args: expected `name: value` lines"),
        ("args: 3\n", ":1: args: expected `name: value` lines"),
        ("- 1\n", ":1: expected `name: value` lines"),
        ("args:\n  seed: [1\n", ": this is no YAML"),
        ("args:\n\tseed: 1\n", ":2: this is no YAML"),
        ("a: !!python/object/apply:os.getcwd []\n", ":1: this is no YAML"),
        ("a: " + "[" * 2000, "nested too deep"),
    ],
)
def test_what_is_no_configuration_is_refused_with_its_line(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        files.read(written(tmp_path, text))
    assert problem in str(caught.value)


def test_missing_file_lists_the_ready_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"ready configuration: .*text-classification"):
        files.read(str(tmp_path / "none.yaml"))


def test_binary_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="UTF-8"):
        files.read(str(tmp_path / "x.yaml"))


def test_own_file_comes_before_a_ready_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert files.find("text-classification").parent == files.READY
    written(tmp_path, "", "text-classification")
    assert files.find("text-classification") == Path("text-classification")
