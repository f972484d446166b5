from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, Optional, Union

import pytest

from lt_trainer import HfArgumentParser, Seq2SeqTrainingArguments, TrainingArguments

if TYPE_CHECKING:
    from pathlib import Path


class Side(StrEnum):
    LEFT = "left"
    RIGHT = "right"


@dataclass
class Data:
    """What a script of the user has beside TrainingArguments."""

    train_file: str = field(metadata={"help": "rows, 100 % of them", "aliases": ["-t"]})
    max_length: Optional[int] = None  # noqa: UP045  (as scripts write it)
    share: float = 0.5
    shuffle: bool = True
    lower: bool = False
    strict: Optional[bool] = None  # noqa: UP045
    columns: list[str] = field(default_factory=lambda: ["text"])
    sizes: list[int] = field(default_factory=list)
    side: Side = Side.LEFT
    mode: Literal["a", "b", 3] = "a"
    options: dict[str, Any] | None = None
    limit: Union[int, str] = 7  # noqa: UP007


def parse(*line: str, types: Any = Data) -> Any:
    return HfArgumentParser(types).parse_args_into_dataclasses(list(line), look_for_args_file=False)


def test_fields_become_options_and_defaults_stay_with_the_dataclass() -> None:
    assert parse("--train_file", "x.csv") == (Data("x.csv"),)


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        (["--max_length", "12"], "max_length", 12),
        (["--max-length=12"], "max_length", 12),
        (["--share", "1e-2"], "share", 0.01),
        (["--shuffle", "no"], "shuffle", False),
        (["--no_shuffle"], "shuffle", False),
        (["--no-shuffle"], "shuffle", False),
        (["--lower"], "lower", True),
        (["--lower", "false"], "lower", False),
        (["--strict"], "strict", True),
        (["--columns", "a", "b"], "columns", ["a", "b"]),
        (["--sizes", "1", "2"], "sizes", [1, 2]),
        (["--side", "right"], "side", "right"),
        (["--mode", "3"], "mode", 3),
        (["--options", '{"a": 1}'], "options", {"a": 1}),
        (["--limit", "9"], "limit", 9),
        (["--limit", "all"], "limit", "all"),
        (["-t", "y.csv"], "train_file", "y.csv"),
    ],
)
def test_values_have_the_types_of_the_fields(line: list[str], name: str, value: object) -> None:
    (data,) = parse("--train_file", "x.csv", *line)
    assert getattr(data, name) == value
    assert type(getattr(data, name)) is type(value)


@pytest.mark.parametrize("line", [[], ["-t", "x", "--share", "many"], ["-t", "x", "--side", "up"]])
def test_what_cannot_be_read_ends_the_program_with_the_reason(line: list[str], capsys: Any) -> None:
    with pytest.raises(SystemExit):
        parse(*line)
    assert "--" in capsys.readouterr().err


def test_several_dataclasses_share_a_line() -> None:
    data, args = parse(
        *(
            "--train_file",
            "x.csv",
            "--output_dir",
            "out",
            "--learning_rate",
            "2e-5",
            "--bf16",
            "--label_names",
            "a",
            "b",
        ),
        *("--no_dataloader_pin_memory", "--eval-strategy", "epoch", "--lr_scheduler_kwargs", '{"num_cycles": 2}'),
        types=(Data, TrainingArguments),
    )
    assert data == Data("x.csv")
    assert (args.learning_rate, args.bf16, args.label_names) == (2e-5, True, ["a", "b"])
    assert (args.dataloader_pin_memory, args.eval_strategy) == (False, "epoch")
    assert args.lr_scheduler_kwargs == {"num_cycles": 2}


def test_former_names_are_options_too() -> None:
    with pytest.warns(DeprecationWarning, match="evaluation_strategy is eval_strategy now"):
        (args,) = parse(
            *("--output_dir", "out", "--evaluation_strategy", "epoch", "--no_cuda", "--overwrite_output_dir"),
            *("--per-gpu-train-batch-size", "4"),
            types=TrainingArguments,
        )
    assert (args.eval_strategy, args.use_cpu, args.overwrite_output_dir) == ("epoch", True, True)
    assert args.per_device_train_batch_size == 4


def test_every_argument_can_be_given_as_its_default() -> None:
    usual = Seq2SeqTrainingArguments("out")
    line = []
    for f in dataclasses.fields(usual):
        value = getattr(usual, f.name)
        if isinstance(value, bool | int | float | str):
            line += [f"--{f.name}", str(value)]
    (args,) = parse(*line, types=Seq2SeqTrainingArguments)
    assert args == usual


def test_a_parser_of_the_users_adds_options() -> None:
    parser = HfArgumentParser(Data)
    parser.add_argument("--verbose", action="store_true")
    data, more = parser.parse_args_into_dataclasses(["-t", "x", "--verbose"], look_for_args_file=False)
    assert data == Data("x")
    assert more.verbose


def test_words_that_mean_nothing_are_told_or_returned() -> None:
    parser = HfArgumentParser(Data)
    with pytest.raises(ValueError, match=r"\['--shar_e', '3'\]; did you mean 'share'"):
        parser.parse_args_into_dataclasses(["-t", "x", "--shar_e", "3"], look_for_args_file=False)
    data, rest = parser.parse_args_into_dataclasses(["-t", "x", "--other"], return_remaining_strings=True)
    assert (data, rest) == (Data("x"), ["--other"])


def test_options_of_files_come_before_the_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "script.args").write_text("--train_file a.csv --share 0.1")
    (tmp_path / "more.args").write_text("--share 0.2 --max_length 5")
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "script.py"), "--max_length", "9"])
    parser = HfArgumentParser(Data)
    assert parser.parse_args_into_dataclasses() == (Data("a.csv", share=0.1, max_length=9),)
    given = ["--file", str(tmp_path / "more.args"), "-t", "b.csv"]
    (data,) = parser.parse_args_into_dataclasses(given, look_for_args_file=False, args_file_flag="--file")
    assert data == Data("b.csv", share=0.2, max_length=5)
    (data,) = parser.parse_args_into_dataclasses(["-t", "c"], args_filename=str(tmp_path / "more.args"))
    assert data == Data("c", share=0.2, max_length=5)


def test_dicts_and_files(tmp_path: Path) -> None:
    parser = HfArgumentParser((Data, TrainingArguments))
    values = {"train_file": "x.csv", "share": 0.1, "output_dir": "out", "save_steps": 7}
    data, args = parser.parse_dict(values)
    assert (data.share, args.save_steps) == (0.1, 7)
    (tmp_path / "a.json").write_text(json.dumps(values))
    (tmp_path / "a.yaml").write_text("train_file: x.csv\nshare: 0.1\noutput_dir: out\nsave_steps: 7\n")
    assert parser.parse_json_file(tmp_path / "a.json") == (data, args)
    assert parser.parse_yaml_file(str(tmp_path / "a.yaml")) == (data, args)
    with pytest.raises(ValueError, match=r"\['shares'\]; did you mean 'share'"):
        parser.parse_dict({**values, "shares": 1})
    assert parser.parse_dict({**values, "shares": 1}, allow_extra_keys=True) == (data, args)


def test_help_shows_meanings_and_defaults(capsys: Any) -> None:
    with pytest.raises(SystemExit):
        HfArgumentParser((Data, TrainingArguments)).parse_args_into_dataclasses(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "rows, 100 % of them" in text
    assert "peak of the schedule (default: 5e-05)" in text
    assert "evaluation_strategy" not in text
