"""Going on from a checkpoint is the run that never stopped, bit for bit."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from functools import partial
from typing import ClassVar

import numpy as np
import pytest
import torch
from datasets import Dataset

from lt_trainer import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    EarlyStoppingCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from lt_trainer.data.order import epoch_order

TEXTS = ["a good film", "the plot was dull and slow", "very great", "never good", "it is bad", "a great actor"] * 5
LABELS = [1, 0, 1, 0, 0, 1] * 5


@pytest.fixture
def folder(tiny_bert):
    return tiny_bert(head="masked", hidden_dropout_prob=0.2, attention_probs_dropout_prob=0.2)


@pytest.fixture
def build(folder, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = Dataset.from_dict({**tokenizer(TEXTS), "label": LABELS})

    def make(name="run", *, callbacks=(), collator=None, metrics=None, **options):
        torch.manual_seed(0)
        settings = {
            "output_dir": str(tmp_path / name),
            "per_device_train_batch_size": 4,
            "num_train_epochs": 2,
            "learning_rate": 1e-3,
            "warmup_steps": 2,
            "lr_scheduler_type": "cosine",
            "logging_steps": 1,
            "save_steps": 3,
            "report_to": "none",
            "disable_tqdm": True,
            "use_cpu": True,
        }
        return Trainer(
            model=AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2),
            args=TrainingArguments(**{**settings, **options}),
            train_dataset=rows,
            eval_dataset=rows.select(range(7)),
            data_collator=collator or DataCollatorWithPadding(tokenizer),
            processing_class=tokenizer,
            callbacks=list(callbacks),
            compute_metrics=metrics,
        )

    return make


class StopAt(TrainerCallback):
    """Ends a run the way that a crash after a save does: nothing else is told of it."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            control.should_save = control.should_training_stop = True


def history(trainer):
    return [
        {k: v for k, v in entry.items() if not k.endswith(("runtime", "per_second"))}
        for entry in trainer.state.log_history
    ]


def assert_same_run(trainer, expected):
    assert history(trainer) == history(expected)
    for name, value in expected.model.state_dict().items():
        assert torch.equal(trainer.model.state_dict()[name], value), name


def stop_and_go_on(build, step, **options):
    callbacks = options.pop("callbacks", tuple)
    expected = build("whole", callbacks=callbacks(), **options)
    expected.train()
    build("cut", callbacks=[*callbacks(), StopAt(step)], **options).train()
    resumed = build("cut", callbacks=callbacks(), **options)
    resumed.train(resume_from_checkpoint=True)
    return resumed, expected


@pytest.mark.parametrize("step", [1, 5, 8, 11, 16])
def test_any_step_can_be_gone_on_from(build, step):
    assert_same_run(*stop_and_go_on(build, step))


@pytest.mark.parametrize(
    "options",
    [
        {"gradient_accumulation_steps": 3},
        {"dataloader_num_workers": 2},
        {"max_steps": 13, "dataloader_drop_last": True},
        {"num_train_epochs": 1.5, "data_seed": 3},
        {"eval_strategy": "steps", "eval_steps": 2},
        {"logging_steps": 4},
        {"optim": "sgd", "lr_scheduler_type": "constant", "warmup_steps": 0},
    ],
    ids=lambda options: "-".join(options),
)
def test_every_setting_goes_on(build, options):
    assert_same_run(*stop_and_go_on(build, 3, **options))


@pytest.mark.parametrize("step", [8, 11])
def test_workers_that_read_ahead_go_on_in_a_later_epoch(build, step):
    assert_same_run(*stop_and_go_on(build, step, dataloader_num_workers=2))


def masked_at_random(collate, features):
    """Draws from all three generators, as augmenting collators do."""
    batch = collate(features)
    if random.random() < 0.5 and np.random.rand() < 0.7:
        batch["input_ids"] = batch["input_ids"].masked_fill(torch.rand(batch["input_ids"].shape) < 0.2, 4)
    return batch


@pytest.mark.parametrize("workers", [0, 2])
def test_random_collators_go_on(build, folder, workers):
    collator = partial(masked_at_random, DataCollatorWithPadding(AutoTokenizer.from_pretrained(folder)))
    resumed, expected = stop_and_go_on(build, 5, collator=collator, dataloader_num_workers=workers)
    assert_same_run(resumed, expected)


def test_several_stops_are_as_good_as_none(build):
    expected = build("whole")
    expected.train()
    for step in (2, 3, 9):
        build("cut", callbacks=[StopAt(step)]).train(resume_from_checkpoint=step > 2)
    resumed = build("cut")
    resumed.train(resume_from_checkpoint=True)
    assert_same_run(resumed, expected)


def test_an_epoch_that_a_callback_ended_is_not_counted_as_whole(build):
    class Short(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_epoch_stop = state.global_step == 3

    assert_same_run(*stop_and_go_on(build, 5, callbacks=lambda: [Short()], num_train_epochs=3))


def test_the_mean_loss_covers_the_whole_run(build):
    expected = build("whole", logging_steps=5)
    whole = expected.train()
    build("cut", callbacks=[StopAt(7)], logging_steps=5).train()
    assert build("cut", logging_steps=5).train(resume_from_checkpoint=True).training_loss == whole.training_loss


def test_patience_goes_on(build):
    def callbacks():
        return [EarlyStoppingCallback(early_stopping_patience=3)]

    options = {
        "learning_rate": 0.0,
        "eval_strategy": "steps",
        "eval_steps": 1,
        "save_steps": 1,
        "load_best_model_at_end": True,
    }
    resumed, expected = stop_and_go_on(build, 3, callbacks=callbacks, **options)
    assert expected.state.global_step == 4
    assert_same_run(resumed, expected)


def test_a_callback_with_a_state_dict_goes_on(build):
    class Counter(TrainerCallback):
        def __init__(self):
            self.seen = 0

        def on_step_end(self, args, state, control, **kwargs):
            self.seen += 1

        def state_dict(self):
            return {"seen": self.seen}

        def load_state_dict(self, state):
            self.seen = state["seen"]

    build("cut", callbacks=[Counter(), StopAt(5)]).train()
    counter = Counter()
    build("cut", callbacks=[counter]).train(resume_from_checkpoint=True)
    assert counter.seen == 16


def test_no_row_is_read_twice_or_skipped_over(build):
    class Watched:
        def __init__(self, rows):
            self.rows, self.read = rows, []

        def __len__(self):
            return len(self.rows)

        def __getitem__(self, row):
            self.read.append(row)
            return self.rows[row]

    build("cut", callbacks=[StopAt(5)]).train()
    resumed = build("cut")
    resumed.train_dataset = watched = Watched(resumed.train_dataset)
    resumed.train(resume_from_checkpoint=True)
    assert len(watched.read) == (30 - 20) + 30 + watched.read.count(0) - watched.read[1:].count(0)  # one peek at row 0


def test_a_million_steps_are_gone_past_at_once(tmp_path):
    """Without reading a row of them, and at most two seconds later than from the first row."""
    from tests.faults import runs

    count, done = 2_000_010, 1_000_000
    shown = runs.rows(1)[0]

    class Million:
        read: ClassVar[list[int]] = []

        def __len__(self):
            return count

        def __getitem__(self, row):
            self.read.append(row)
            return shown

    class First(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            self.seconds, control.should_training_stop = time.perf_counter() - self.began, True
            control.should_save = state.global_step == 1

    def seconds(resume):
        first, options = First(), {"max_steps": -1, "num_train_epochs": 1, "per_device_train_batch_size": 2}
        trainer = runs.build(tmp_path, callbacks=[first], save_steps=10**7, logging_steps=10**7, **options)
        trainer.train_dataset = Million()
        first.began = time.perf_counter()
        trainer.train(resume_from_checkpoint=resume)
        return trainer.state.global_step, first.seconds

    _, cold = seconds(None)
    folder = tmp_path / "checkpoint-1"
    for name in ("lt_trainer.json", "manifest.json"):  # without them it is one of `transformers`, to be told a step
        (folder / name).unlink()
    state = json.loads((folder / "trainer_state.json").read_text())
    (folder / "trainer_state.json").write_text(json.dumps({**state, "global_step": done}))
    Million.read.clear()
    step, warm = seconds(str(folder))
    assert step == done + 1
    order = epoch_order(count, seed=42, epoch=0)
    assert order[2 * done] in Million.read
    assert not {*order[: 2 * done]} & {*Million.read} - {0}  # one peek at row 0
    assert warm < cold + 2


def test_a_finished_run_does_nothing_more(build):
    expected = build("cut")
    expected.train()
    again = build("cut")
    assert again.train(resume_from_checkpoint=True).global_step == 16
    for name, value in expected.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], value), name


def test_on_save_comes_when_the_folder_is_there_with_the_state_that_was_saved(build, tmp_path, monkeypatch):
    class Look(TrainerCallback):
        def on_save(self, args, state, control, **kwargs):
            saved = json.loads(
                (tmp_path / "run" / f"checkpoint-{state.global_step}" / "trainer_state.json").read_text()
            )
            seen.append((state.global_step, saved["global_step"], len(state.log_history)))

    for limit in (0, 2**40):  # written in the background, and at once
        seen: list[tuple[int, int, int]] = []
        monkeypatch.setattr("lt_trainer.saves.SMALL_STATE", limit)
        build(callbacks=[Look()], num_train_epochs=1).train()
        assert seen == [(3, 3, 3), (6, 6, 6), (8, 8, 8)]


def test_saving_in_the_background_changes_no_number(build, monkeypatch):
    expected = build("whole")
    expected.train()
    monkeypatch.setattr("lt_trainer.saves.SMALL_STATE", 0)
    background = build("background")
    background.train()
    assert_same_run(background, expected)
    resumed = build("background")
    resumed.train(resume_from_checkpoint=str(background.args.output_dir) + "/checkpoint-6")
    assert_same_run(resumed, expected)


def test_an_epoch_that_ends_at_the_very_step_of_the_save_has_ended(build):
    class Short(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_epoch_stop = state.global_step == 3

    assert_same_run(*stop_and_go_on(build, 3, callbacks=lambda: [Short()], num_train_epochs=3))


def test_an_evaluation_on_start_is_not_made_again(build):
    resumed, expected = stop_and_go_on(build, 3, eval_on_start=True, eval_strategy="steps", eval_steps=4)
    assert [e["step"] for e in expected.state.log_history if "eval_loss" in e] == [0, 4, 8, 12, 16]
    assert_same_run(resumed, expected)


def test_other_rows_than_the_checkpoint_was_trained_on_are_told(build, caplog):
    build("cut", callbacks=[StopAt(2)]).train()
    resumed = build("cut", data_seed=3)
    resumed.train_dataset = resumed.train_dataset.select(range(20))
    resumed.train(resume_from_checkpoint=True)
    assert "rows 30, now 20; seed 42, now 3" in caplog.text


# ---- which checkpoint


def test_a_damaged_newest_checkpoint_is_passed_over_with_the_reason(build, tmp_path, caplog):
    expected = build("whole")
    expected.train()
    build("cut", callbacks=[StopAt(7)]).train()
    weights = tmp_path / "cut" / "checkpoint-7" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    resumed = build("cut")
    resumed.train(resume_from_checkpoint=True)
    assert "checkpoint-7 is passed over: model.safetensors" in caplog.text
    assert_same_run(resumed, expected)


def test_a_damaged_checkpoint_that_was_named_is_refused(build, tmp_path):
    build("cut", callbacks=[StopAt(2)]).train()
    (tmp_path / "cut" / "checkpoint-2" / "optimizer.pt").unlink()
    with pytest.raises(ValueError, match=r"optimizer\.pt"):
        build("cut").train(resume_from_checkpoint=str(tmp_path / "cut" / "checkpoint-2"))


def test_nothing_to_go_on_from_lists_what_is_there(build, tmp_path):
    with pytest.raises(FileNotFoundError, match="No checkpoint to go on from"):
        build("cut").train(resume_from_checkpoint=True)
    build("cut", callbacks=[StopAt(2)]).train()
    with pytest.raises(FileNotFoundError, match=r"checkpoint-9.*\['checkpoint-2'\]"):
        build("cut").train(resume_from_checkpoint=str(tmp_path / "cut" / "checkpoint-9"))


def test_a_checkpoint_that_stepped_aside_when_the_power_went_is_found(build, tmp_path):
    from lt_trainer.files.staging import temporary_path

    build("cut", callbacks=[StopAt(2)]).train()
    folder = tmp_path / "cut" / "checkpoint-2"
    aside = temporary_path("old", folder)
    dead = aside.with_name(aside.name.replace(f".{os.getpid()}.", ".999999999."))
    folder.rename(dead)
    resumed = build("cut")
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == 16


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda s: {**s, "log_history": [3]}, ": 'log_history'"),
        (lambda s: {**s, "global_step": "3"}, " has no global_step"),
        (lambda s: {**s, "best_model_checkpoint": 5}, ": 'best_model_checkpoint' is 5"),
    ],
)
def test_a_foreign_state_of_another_form_is_refused_by_name(build, tmp_path, change, match):
    folder = foreign(build, tmp_path, change)
    with pytest.raises(ValueError, match=rf"trainer_state\.json{match}"):
        build("other").train(resume_from_checkpoint=str(folder))


def test_a_foreign_state_of_a_newer_version_goes_on_and_leads_nowhere_else(build, tmp_path):
    secret = tmp_path / "secret"
    secret.mkdir()
    folder = foreign(build, tmp_path, lambda s: {**s, "new_field": 1, "best_model_checkpoint": str(secret)})
    resumed = build("other")
    resumed.train(resume_from_checkpoint=str(folder))
    assert resumed.state.best_model_checkpoint is None
    assert resumed.state.global_step == 16


def foreign(build, tmp_path, change):
    """A checkpoint as a stranger could have written it: no manifest, no side file, another trainer_state.json."""
    build("cut", callbacks=[StopAt(2)]).train()
    folder = tmp_path / "cut" / "checkpoint-2"
    for name in ("manifest.json", "lt_trainer.json"):
        (folder / name).unlink()
    state = folder / "trainer_state.json"
    state.write_text(json.dumps(change(json.loads(state.read_text()))))
    return folder


def test_an_optimizer_state_of_other_shapes_is_refused_before_it_is_loaded(build, tmp_path):
    folder = foreign(build, tmp_path, lambda s: s)
    state = torch.load(folder / "optimizer.pt", weights_only=True)
    state["state"][0]["exp_avg"] = torch.zeros(3)
    torch.save(state, folder / "optimizer.pt")
    with pytest.raises(ValueError, match=r"optimizer.pt: 'exp_avg' of parameter 0.*\(3,\)"):
        build("other").train(resume_from_checkpoint=str(folder))
    state["param_groups"][0]["params"].pop()
    torch.save(state, folder / "optimizer.pt")
    with pytest.raises(ValueError, match=r"optimizer.pt: expected groups of"):
        build("other").train(resume_from_checkpoint=str(folder))
    torch.save({"state": 3}, folder / "optimizer.pt")
    with pytest.raises(ValueError, match=r"optimizer.pt: expected the state of an optimizer"):
        build("other").train(resume_from_checkpoint=str(folder))


def test_a_checkpoint_of_another_model_is_refused(build, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = foreign(build, tmp_path, lambda s: s)
    weights = load_file(folder / "model.safetensors")
    del weights["classifier.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"classifier\.weight: expected a checkpoint of the same model"):
        build("other").train(resume_from_checkpoint=str(folder))


def test_a_best_model_that_was_damaged_costs_an_error_in_the_log_and_not_the_run(build, tmp_path, caplog):
    class Damage(TrainerCallback):
        def on_save(self, args, state, control, **kwargs):
            weights = tmp_path / "run" / f"checkpoint-{state.global_step}" / "model.safetensors"
            data = bytearray(weights.read_bytes())
            data[-1] ^= 1
            weights.write_bytes(data)

    trainer = build(
        callbacks=[Damage()],
        num_train_epochs=1,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
    )
    assert trainer.train().global_step == 8
    assert "cannot be loaded, the last weights stay: model.safetensors is damaged" in caplog.text


def test_true_in_a_file_or_on_the_command_line_means_the_newest(build):
    expected = build("whole")
    expected.train()
    build("cut", callbacks=[StopAt(7)]).train()
    resumed = build("cut", resume_from_checkpoint="true")
    resumed.train()
    assert_same_run(resumed, expected)


def test_weights_alone_cannot_be_gone_on_from(build, tmp_path):
    build("cut", save_only_model=True, max_steps=3).train()
    with pytest.raises(FileNotFoundError, match="save_only_model"):
        build("cut").train(resume_from_checkpoint=True)


def test_another_effective_batch_is_refused_with_the_numbers(build):
    build("cut", callbacks=[StopAt(2)]).train()
    with pytest.raises(ValueError, match="4 rows a step and this run asks for 8"):
        build("cut", gradient_accumulation_steps=2).train(resume_from_checkpoint=True)


# ---- signals


class Signal(TrainerCallback):
    def __init__(self, number, step=4):
        self.number, self.step = number, step

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            os.kill(os.getpid(), self.number)
            time.sleep(0.05)


@pytest.mark.parametrize(
    ("number", "error", "code"), [(signal.SIGTERM, SystemExit, 143), (signal.SIGINT, KeyboardInterrupt, None)]
)
def test_a_signal_saves_the_step_and_leaves(build, tmp_path, number, error, code):
    expected = build("whole")
    expected.train()
    before = signal.getsignal(number)
    with pytest.raises(error) as raised:
        build("cut", callbacks=[Signal(number)]).train()
    assert code is None or raised.value.code == code
    assert signal.getsignal(number) is before
    assert sorted(p.name for p in (tmp_path / "cut").glob("checkpoint-*")) == ["checkpoint-3", "checkpoint-5"]
    resumed = build("cut")
    resumed.train(resume_from_checkpoint=True)
    assert_same_run(resumed, expected)


def test_a_signal_in_the_middle_of_an_epoch_brings_no_end_of_it(build, tmp_path):
    options = {"eval_strategy": "epoch", "save_strategy": "epoch"}
    expected = build("whole", **options)
    expected.train()
    stopped = build("cut", callbacks=[Signal(signal.SIGTERM)], **options)
    with pytest.raises(SystemExit):
        stopped.train()
    assert not [entry for entry in stopped.state.log_history if "eval_loss" in entry]
    assert sorted(p.name for p in (tmp_path / "cut").glob("checkpoint-*")) == ["checkpoint-5"]
    resumed = build("cut", **options)
    resumed.train(resume_from_checkpoint=True)
    assert_same_run(resumed, expected)


def test_a_signal_saves_nothing_where_nothing_is_ever_saved(build, tmp_path):
    with pytest.raises(SystemExit):
        build("cut", callbacks=[Signal(signal.SIGTERM)], save_strategy="no").train()
    assert not list((tmp_path / "cut").glob("checkpoint-*"))


# ---- faults while saving


def test_a_save_that_fails_is_told_and_training_goes_on(build, tmp_path, monkeypatch, caplog):
    from lt_trainer.checkpoint import saver

    original, calls = saver.write_checkpoint, []

    def full_disk(folder, contents):
        calls.append(contents.trainer_state["global_step"])
        if len(calls) == 2:
            raise OSError(28, "No space left on device", "model.safetensors")
        original(folder, contents)

    expected = build("whole")
    expected.train()
    monkeypatch.setattr(saver, "write_checkpoint", full_disk)
    for limit in (0, 2**40):
        calls.clear()
        caplog.clear()
        monkeypatch.setattr("lt_trainer.saves.SMALL_STATE", limit)
        seen: list[int] = []

        class Saved(TrainerCallback):
            def on_save(self, args, state, control, seen=seen, **kwargs):
                seen.append(state.global_step)

        trainer = build(f"cut{limit}", callbacks=[Saved()])
        trainer.train()
        assert_same_run(trainer, expected)
        assert "checkpoint-6 could not be saved" in caplog.text
        assert "No space left on device" in caplog.text
        assert seen == [3, 9, 12, 15, 16]
        names = {p.name for p in (tmp_path / f"cut{limit}").glob("checkpoint-*")}
        assert names == {f"checkpoint-{i}" for i in seen}


def test_a_folder_that_cannot_be_written_is_refused_before_the_first_step(build, tmp_path):
    (tmp_path / "file").write_text("x")
    trainer = build("file/run")
    with pytest.raises((OSError, ValueError), match="file"):
        trainer.train()
    assert trainer.state.global_step == 0


# ---- both ways with transformers


@pytest.mark.filterwarnings("ignore")
def test_a_run_of_transformers_goes_on_here_and_ours_there(tiny_bert, tmp_path):
    transformers = pytest.importorskip("transformers")
    import lt_trainer

    folder = tiny_bert("plain", head="sequence")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = Dataset.from_dict({**tokenizer(TEXTS), "labels": LABELS})

    def train(library, name, resume=None, **options):
        settings = {
            "output_dir": str(tmp_path / name),
            "per_device_train_batch_size": 4,
            "num_train_epochs": 2,
            "learning_rate": 1e-3,
            "logging_steps": 1,
            "save_steps": 5,
            "report_to": "none",
            "disable_tqdm": True,
            "use_cpu": True,
        }
        trainer = library.Trainer(
            model=library.AutoModelForSequenceClassification.from_pretrained(folder),
            args=library.TrainingArguments(**{**settings, **options}),
            train_dataset=rows,
            data_collator=library.DataCollatorWithPadding(library.AutoTokenizer.from_pretrained(folder)),
        )
        trainer.train(resume_from_checkpoint=resume)
        return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]

    expected = train(transformers, "theirs")
    assert train(lt_trainer, "ours") == pytest.approx(expected, rel=1e-4)
    for name in ("theirs", "ours"):
        checkpoint = str(tmp_path / name / "checkpoint-5")
        for library in (lt_trainer, transformers):
            losses = train(library, f"{name}-on-{library.__name__}", resume=checkpoint)
            assert losses == pytest.approx(expected, rel=1e-4), (name, library.__name__)


@pytest.mark.parametrize("name", ["reduce_lr_on_plateau", "greedy"])
def test_a_schedule_that_follows_the_evaluation_goes_on(build, name):
    kwargs = {"patience": 0} | ({"min_lr": 1e-5} if name == "greedy" else {"threshold": 0.9})
    options = {"lr_scheduler_type": name, "lr_scheduler_kwargs": kwargs, "eval_strategy": "steps", "eval_steps": 2}
    whole = build("whole", **options)
    whole.train()
    build("cut", callbacks=[StopAt(5)], **options).train()
    resumed = build("cut", **options)
    resumed.train(resume_from_checkpoint=True)
    rates = [[e["learning_rate"] for e in t.state.log_history if "learning_rate" in e] for t in (whole, resumed)]
    assert rates[0] == rates[1]
    assert len(set(rates[0])) > 3
    assert whole.lr_scheduler.state_dict() == resumed.lr_scheduler.state_dict()


def test_adafactor_goes_on_bit_for_bit(build):
    whole = build("whole", optim="adafactor")
    whole.train()
    build("cut", callbacks=[StopAt(5)], optim="adafactor").train()
    resumed = build("cut", optim="adafactor")
    resumed.train(resume_from_checkpoint=True)
    for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_noise_on_embeddings_goes_on_bit_for_bit(build):
    whole = build("whole", neftune_noise_alpha=5.0)
    whole.train()
    build("cut", callbacks=[StopAt(5)], neftune_noise_alpha=5.0).train()
    resumed = build("cut", neftune_noise_alpha=5.0)
    resumed.train(resume_from_checkpoint=True)
    for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_rows_of_like_length_go_on_where_they_were(build):
    options = {"train_sampling_strategy": "group_by_length", "include_num_input_tokens_seen": "all"}
    whole = build("whole", **options)
    whole.train()
    build("cut", callbacks=[StopAt(5)], **options).train()
    resumed = build("cut", **options)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.num_input_tokens_seen == whole.state.num_input_tokens_seen
    for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_ignore_data_skip_begins_with_the_first_row_of_the_epoch(build):
    seen = []

    def collate(rows):
        seen.append(len(rows))
        return padded(rows)

    build("cut", callbacks=[StopAt(5)]).train()
    padded = build("other").data_collator
    resumed = build("cut", collator=collate, ignore_data_skip=True)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == 16
    epochs = [entry["epoch"] for entry in resumed.state.log_history if entry["step"] == 6 and "loss" in entry]
    assert epochs == [pytest.approx(1 / 8)]
