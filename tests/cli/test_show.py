"""`lt-trainer show`: what stands in a batch, for a reader with and without colours."""

from __future__ import annotations

import io
import re

import pytest

from lt_trainer.cli.show import Cell, Look

QUIET = ["--report_to", "none", "--use_cpu"]


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def lines_of(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines() if line.strip()]


@pytest.fixture
def folder(tiny_bert):
    return tiny_bert(head="masked")


def test_tokens_stand_above_their_labels_as_many_as_a_line_holds():
    cells = [Cell("the", "."), Cell("[MASK]", "cat"), Cell("sat", "longer")]
    assert list(Look(False, 14).lines(cells, True)) == ["  the [MASK]", "  .   cat", "  sat", "  longer"]
    assert list(Look(False, 80).lines(cells, False)) == ["  the [MASK] sat"]


def test_colours_are_for_terminals_and_not_where_they_are_unwanted(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert Look.of(Terminal()).colours
    assert not Look.of(io.StringIO()).colours
    monkeypatch.setenv("NO_COLOR", "1")
    assert not Look.of(Terminal()).colours
    assert Look(True, 80).paint("a", "32") == "\033[32ma\033[0m"
    assert Look(False, 80, plain=True).paint("␣a⏎é", "32") == "_a\\n?"


def test_classes_of_rows_are_told_by_name(lt_trainer, folder, rows):
    answer = lt_trainer("show", "text-classification", "--tokenizer", folder, "--train_file", rows["train"], *QUIET)
    assert answer.code == 0, answer.err
    assert "\033" not in answer.out
    lines = lines_of(answer.out)
    assert any(line.startswith("a batch of train: ") and "input_ids [8, " in line for line in lines)
    assert len([line for line in lines if re.match(r"row \d+, \d+ tokens", line)]) == 4
    texts = {"  [CLS] great story [SEP]", "  [CLS] slow [SEP]", "  [CLS] bad dull slow plot [SEP]"}
    shown = {line.partition(" [PAD]")[0] for line in lines}
    assert shown & texts
    assert {line for line in lines if line.startswith("  labels: ")} <= {"  labels: pos", "  labels: neg"}


def test_what_is_hidden_stands_above_what_is_to_be_guessed(lt_trainer, folder, tmp_path):
    (tmp_path / "a.txt").write_text("the plot was dull\n")
    answer = lt_trainer(
        *("show", "masked-lm", "--tokenizer", folder, "--train_file", tmp_path / "a.txt", "--mlm_probability", "1.0"),
        *("--mask_replace_prob", "1.0", "--random_replace_prob", "0.0", *QUIET),
    )
    assert answer.code == 0, answer.err
    assert "row 0, 6 tokens, 4 targets" in answer.out
    tokens, labels = lines_of(answer.out)[-2:]
    assert tokens.split() == ["[CLS]", *["[MASK]"] * 4, "[SEP]"]
    assert labels.split() == [".", "the", "plot", "was", "dull", "."]
    assert tokens.index("[MASK]") == labels.index("the")


def test_borders_of_texts_and_what_is_no_target_are_seen(lt_trainer, tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text('{"prompt": "who", "completion": "the ship"}\n{"prompt": "go", "completion": "on"}\n' * 2)
    answer = lt_trainer("show", "causal-lm", "--tokenizer", "scratch", "--train_file", file, "--num_rows", "1", *QUIET)
    assert answer.code == 0, answer.err
    assert answer.out.count("|") >= 2
    tokens = [line for line in answer.out.splitlines() if "|" in line]
    assert len(tokens) % 2 == 0
    assert "the ship" in " ".join(tokens[1::2])
    assert "who" not in " ".join(tokens[1::2])


def test_another_split_and_what_cannot_be_shown(lt_trainer, folder, rows):
    base = ("show", "text-classification", "--tokenizer", folder, "--train_file", rows["train"], *QUIET)
    answer = lt_trainer(*base, "--validation_file", rows["dev"], "--split", "validation", "--num_rows", "2")
    assert "a batch of validation" in answer.out
    assert [line[:6] for line in lines_of(answer.out) if line.startswith("row ")] == ["row 0,", "row 1,"]
    assert lt_trainer(*base, "--split", "dev").code == 2
    assert "expected one of train, validation, test" in lt_trainer(*base, "--split", "dev").err
    assert "--num_rows 0: expected a whole number" in lt_trainer(*base, "--num_rows", "0").err
    assert "no validation rows" in lt_trainer(*base, "--split", "validation").err


def test_a_configuration_file_is_shown_without_its_model(lt_trainer, folder, rows, tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text(
        f"task: text-classification\nmodel: nowhere/at-all\ndata:\n  tokenizer: {folder}\n  train: {rows['train']}\n"
    )
    answer = lt_trainer("show", config)
    assert answer.code == 0, answer.err
    assert "[CLS]" in answer.out
