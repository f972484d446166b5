"""The demo from end to end on few rows; the accuracy on the whole built-in text is a slow test."""

from __future__ import annotations

import csv
import json

import pytest

from lt_trainer import demo
from lt_trainer.data.builtin import LABELS, preferences


@pytest.fixture
def files(tmp_path):
    """A CSV file to train on and a JSON-lines file to test on, with columns of their own."""
    rows = [(text, LABELS[label]) for text, label in preferences(150)]
    with (tmp_path / "train.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("remark", "winner"), *rows[:120]])
    lines = [json.dumps({"remark": text, "winner": label}) for text, label in rows[120:]]
    (tmp_path / "eval.jsonl").write_text("\n".join(lines))
    return tmp_path


def run(folder, *options: str) -> dict[str, float]:
    columns = ["--text_column", "remark", "--label_column", "winner"]
    train = ["--train_file", str(folder / "train.csv"), "--num_train_epochs", "1"]
    assert demo.main([*train, *columns, "--output_dir", str(folder / "out"), *options]) == 0
    return json.loads((folder / "out" / "all_results.json").read_text())


def test_it_leaves_a_model_results_and_events(files):
    results = run(files, "--eval_file", str(files / "eval.jsonl"))
    for name in ("eval_accuracy", "majority_accuracy", "bag_of_words_accuracy"):
        assert 0 <= results[name] <= 1
    assert results["majority_accuracy"] == pytest.approx(1 / 3)
    names = {path.name for path in (files / "out").iterdir()}
    assert names >= {"config.json", "model.safetensors", "tokenizer_config.json", "all_results.json", "runs"}
    assert list((files / "out" / "runs").glob("events.out.tfevents*"))


def test_what_it_leaves_opens_in_transformers_with_the_same_answers(files):
    transformers = pytest.importorskip("transformers")
    import torch

    from lt_trainer import AutoModelForSequenceClassification, AutoTokenizer

    run(files)
    text = "The ferry is faster than the tram."
    answers = []
    for auto_model, auto_tokenizer in (
        (AutoModelForSequenceClassification, AutoTokenizer),
        (transformers.AutoModelForSequenceClassification, transformers.AutoTokenizer),
    ):
        model = auto_model.from_pretrained(files / "out").eval()
        with torch.no_grad():
            answers.append(model(**auto_tokenizer.from_pretrained(files / "out")(text, return_tensors="pt")).logits)
        assert model.config.id2label == {0: "first", 1: "second", 2: "undecided"}
    torch.testing.assert_close(*answers)


def test_what_a_person_reads(files, capsys):
    run(files, "--eval_file", str(files / "eval.jsonl"))
    screen = capsys.readouterr().out
    for words in (
        "120 rows to learn from, 30 to test on; classes: first, second, undecided",
        "always 'first', the commonest class",
        "accuracy on 30 rows that it did not learn from",
        "bag of words",
        "this model",
        "tensorboard --logdir",
        "lt-trainer predict",
    ):
        assert words in screen
    assert screen.count("    -> ") == 3


def test_an_evaluation_writes_one_line_above_the_bar(files, capsys):
    run(files)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  epoch ")]
    assert len(lines) == 1
    assert "epoch  1.0 of 1" in lines[0]
    assert lines[0].endswith("*")


def test_without_a_file_to_test_on_a_tenth_is_held_out(files, capsys):
    run(files)
    assert "108 rows to learn from, 12 to test on" in capsys.readouterr().out


def test_it_goes_on_from_a_saved_model(files):
    run(files)
    columns = ["--text_column", "remark", "--label_column", "winner", "--num_train_epochs", "1"]
    first, second = str(files / "out"), str(files / "again")
    options = ["--train_file", str(files / "train.csv"), "--model", first, "--output_dir", second]
    assert demo.main([*options, *columns]) == 0
    config = json.loads((files / "again" / "config.json").read_text())
    assert config["hidden_size"] == 128
    vocabulary = "tokenizer.json"
    assert (files / "again" / vocabulary).read_bytes() == (files / "out" / vocabulary).read_bytes()


def test_the_same_seed_gives_the_same_weights(files):
    run(files)
    first = (files / "out" / "model.safetensors").read_bytes()
    run(files)
    assert (files / "out" / "model.safetensors").read_bytes() == first


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (["--train_file", "nowhere.csv"], FileNotFoundError, r"nowhere.csv': no such file"),
        (
            ["--text_column", "review"],
            ValueError,
            r"text column 'review' is not there: expected one of \['remark', 'win",
        ),
        (["--label_column", "stars"], ValueError, r"label column 'stars' is not there"),
        (["--learning_rate", "-1"], ValueError, r"learning_rate=-1"),
        (["--model", "no/such/folder"], OSError, r"no/such/folder"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(files, options, error, message):
    with pytest.raises(error, match=message):
        run(files, *options)
    assert not (files / "out").exists() or not list((files / "out").iterdir())


def test_a_test_file_alone_is_refused(files):
    with pytest.raises(ValueError, match=r"--eval_file .*: expected --train_file beside it"):
        demo.main(["--eval_file", str(files / "eval.jsonl"), "--output_dir", str(files / "out")])


def test_rows_of_every_class_are_picked_to_be_shown():
    assert demo._one_of_each([1, 1, 0, 1, 2, 0], 3) == [0, 2, 4]
    assert demo._one_of_each([1, 1, 1], 2) == [0, 1]


@pytest.mark.slow
def test_the_built_in_text_is_learnt_far_better_than_by_a_bag_of_words(tmp_path):
    assert demo.main(["--output_dir", str(tmp_path / "out")]) == 0
    results = json.loads((tmp_path / "out" / "all_results.json").read_text())
    assert results["majority_accuracy"] < 0.35
    assert results["eval_accuracy"] > results["bag_of_words_accuracy"] + 0.1


def test_it_trains_on_sst2(shared_data, tmp_path):
    """A few hundred rows of the real thing: enough to see that files without a header and their labels are read."""
    lines = (shared_data / "sst2" / "train.tsv").read_text().splitlines()
    (tmp_path / "train.tsv").write_text("\n".join(lines[:600]))
    options = ["--train_file", str(tmp_path / "train.tsv"), "--eval_file", str(shared_data / "sst2" / "dev.tsv")]
    columns = ["--column_names", "sentence", "positive", "--text_column", "sentence", "--label_column", "positive"]
    assert demo.main([*options, *columns, "--num_train_epochs", "1", "--output_dir", str(tmp_path / "out")]) == 0
    results = json.loads((tmp_path / "out" / "all_results.json").read_text())
    assert results["bag_of_words_accuracy"] > 0.6


@pytest.mark.slow
def test_on_all_of_sst2_it_is_far_better_than_guessing(shared_data, tmp_path):
    folder = shared_data / "sst2"
    options = ["--train_file", str(folder / "train.tsv"), "--eval_file", str(folder / "dev.tsv")]
    columns = ["--column_names", "sentence", "positive", "--text_column", "sentence", "--label_column", "positive"]
    assert demo.main([*options, *columns, "--num_train_epochs", "4", "--output_dir", str(tmp_path / "out")]) == 0
    results = json.loads((tmp_path / "out" / "all_results.json").read_text())
    assert results["eval_accuracy"] > results["majority_accuracy"] + 0.15
