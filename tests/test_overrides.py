"""What a subclass overrides is what runs; what nothing would call is refused."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from safetensors import safe_open
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from lt_trainer import Trainer, TrainingArguments
from lt_trainer.checkpoint.find import verify
from lt_trainer.data.collators import default_data_collator
from lt_trainer.overrides import REFUSED, Overridable
from lt_trainer.user_steps import reads_parameter


class Classifier(nn.Module):
    """The mean loss over a batch's rows, as models of other libraries return it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.norm = nn.Linear(2, 2), nn.LayerNorm(2)

    def forward(self, x, labels=None):
        logits = self.norm(self.layer(x))
        return {} if labels is None else {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


class Predictor(Classifier):
    def forward(self, x, labels=None):
        outputs = super().forward(x, labels)
        return outputs or {"logits": self.norm(self.layer(x))}


ROWS = [{"x": [i / 5 - 1, (i * 7 % 10) / 5 - 1], "labels": i % 2} for i in range(10)]


def make(tmp_path, trainer_class=Trainer, *, init=None, **options):
    settings = {
        "output_dir": str(tmp_path / "run"),
        "per_device_train_batch_size": 2,
        "num_train_epochs": 2,
        "learning_rate": 0.1,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
    }
    data = {"train_dataset": ROWS, "eval_dataset": ROWS}
    args = TrainingArguments(**{**settings, **options})
    return trainer_class(args=args, **{"model": Predictor(), **data, **(init or {})})


@pytest.fixture
def build(tmp_path):
    return functools.partial(make, tmp_path)


def series(trainer, key="loss"):
    return [entry[key] for entry in trainer.state.log_history if key in entry]


def trained(trainer):
    trainer.train()
    return series(trainer)


# ---- the loss


def mean_loss(model, inputs):
    outputs = model(x=inputs["x"])
    return nn.functional.cross_entropy(outputs["logits"], inputs["labels"]), outputs


class WithoutCount(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False):
        loss, outputs = mean_loss(model, inputs)
        return (loss, outputs) if return_outputs else loss


class TakesCountAlone(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        loss, outputs = mean_loss(model, inputs)
        return (loss, outputs) if return_outputs else loss


class Keywords(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
        return super().compute_loss(model, inputs, return_outputs=return_outputs, **kwargs)


class UsesCount(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = model(x=inputs["x"])
        loss = nn.functional.cross_entropy(outputs["logits"], inputs["labels"], reduction="sum") / num_items_in_batch
        return (loss, outputs) if return_outputs else loss


class CallsSuper(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)


class SaysMean(UsesCount):
    loss_is_scaled_for_ga = False

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        self.targets = num_items_in_batch
        loss, outputs = mean_loss(model, inputs)
        return (loss, outputs) if return_outputs else loss


@pytest.mark.parametrize("cls", [WithoutCount, TakesCountAlone, Keywords, UsesCount, CallsSuper, SaysMean])
def test_every_form_of_an_overridden_loss_is_the_same_over_a_ragged_window(build, cls):
    options = {"per_device_train_batch_size": 3, "gradient_accumulation_steps": 3}
    assert trained(build(cls, **options)) == pytest.approx(trained(build(**options)), rel=1e-5)
    assert build(cls).evaluate()["eval_loss"] == pytest.approx(build().evaluate()["eval_loss"], rel=1e-6)


def test_a_parameter_that_is_taken_and_not_used_is_not_read():
    assert not reads_parameter(TakesCountAlone.compute_loss, "num_items_in_batch")
    assert not reads_parameter(WithoutCount.compute_loss, "num_items_in_batch")
    assert reads_parameter(UsesCount.compute_loss, "num_items_in_batch")
    assert reads_parameter(functools.partial(UsesCount.compute_loss, None), "num_items_in_batch")


# ---- training and prediction steps


class StepOfSuper(Trainer):
    seen = ()

    def training_step(self, model, inputs, num_items_in_batch=None):
        assert model.training
        self.seen += (int(num_items_in_batch),)
        return super().training_step(model, inputs, num_items_in_batch)


class StepByHand(Trainer):
    def training_step(self, model, inputs, num_items_in_batch=None):
        inputs = self._prepare_inputs(inputs)
        with self.compute_loss_context_manager():
            loss = self.compute_loss(model, inputs, num_items_in_batch=num_items_in_batch)
        self.accelerator.backward(loss)
        return loss.detach()


@pytest.mark.parametrize("cls", [StepOfSuper, StepByHand])
def test_an_overridden_training_step_is_what_trains(build, cls):
    options = {"per_device_train_batch_size": 3, "gradient_accumulation_steps": 3}
    assert trained(build(cls, **options)) == pytest.approx(trained(build(**options)), rel=1e-6)


def test_an_overridden_training_step_gets_the_targets_of_the_step(build):
    trainer = build(StepOfSuper, per_device_train_batch_size=3, gradient_accumulation_steps=3, num_train_epochs=1)
    trainer.train()
    assert trainer.seen == (9, 9, 9, 1)


def test_an_overridden_training_step_may_change_the_gradients(build):
    class Doubled(Trainer):
        def training_step(self, model, inputs, num_items_in_batch=None):
            loss = 2 * self.compute_loss(model, inputs, num_items_in_batch=num_items_in_batch)
            self.accelerator.backward(loss)
            return loss.detach()

    plain, doubled = build(max_grad_norm=0, max_steps=1), build(Doubled, max_grad_norm=0, max_steps=1)
    assert trained(doubled)[0] == pytest.approx(2 * trained(plain)[0])
    assert series(doubled, "grad_norm")[0] == pytest.approx(2 * series(plain, "grad_norm")[0], rel=1e-6)


def test_an_overridden_prediction_step_gives_losses_and_predictions(build):
    class Shifted(Trainer):
        def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
            loss, logits, labels = super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)
            return loss + 1, None if logits is None else logits + 3, labels

    plain, shifted = build(), build(Shifted)
    assert shifted.evaluate()["eval_loss"] == pytest.approx(plain.evaluate()["eval_loss"] + 1)
    expected, found = plain.predict(ROWS), shifted.predict(ROWS)
    assert found.predictions == pytest.approx(expected.predictions + 3)
    assert found.label_ids.tolist() == expected.label_ids.tolist()


def test_a_prediction_step_knows_whether_anybody_reads_predictions(build):
    asked = []

    class Asked(Trainer):
        def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
            asked.append(prediction_loss_only)
            return super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)

    trainer = build(Asked, per_device_eval_batch_size=10)
    trainer.evaluate()
    trainer.predict([{"x": row["x"]} for row in ROWS])
    assert asked == [True, False]


# ---- optimizer and schedule


def test_overridden_optimizer_and_schedule_are_used_whether_set_or_returned(build):
    class Sets(Trainer):
        def create_optimizer(self):
            self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.5)

        def create_scheduler(self, num_training_steps, optimizer=None):
            self.lr_scheduler = LambdaLR(self.optimizer, lambda step: 1 - step / num_training_steps)

    class Returns(Trainer):
        def create_optimizer(self):
            return torch.optim.SGD(self.model.parameters(), lr=0.5)

        def create_scheduler(self, num_training_steps, optimizer=None):
            return LambdaLR(self.optimizer, lambda step: 1 - step / num_training_steps)

    class Both(Trainer):
        def create_optimizer_and_scheduler(self, num_training_steps):
            self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.5)
            self.lr_scheduler = LambdaLR(self.optimizer, lambda step: 1 - step / num_training_steps)

    for cls in (Sets, Returns, Both):
        trainer = build(cls, max_steps=4)
        trainer.train()
        assert series(trainer, "learning_rate") == [0.5, 0.375, 0.25, 0.125]
        assert type(trainer.optimizer) is torch.optim.SGD


def test_a_subclass_that_makes_no_optimizer_is_told_so(build):
    class Forgets(Trainer):
        def create_optimizer(self):
            pass

    with pytest.raises(ValueError, match="Forgets made no optimizer: expected create_optimizer"):
        build(Forgets).train()


def test_a_class_and_its_arguments_take_the_place_of_optim(build):
    trainer = build(
        init={"optimizer_cls_and_kwargs": (torch.optim.SGD, {"lr": 0.25, "momentum": 0.9})},
        weight_decay=0.5,
        max_steps=1,
    )
    trainer.train()
    assert type(trainer.optimizer) is torch.optim.SGD
    assert [(g["momentum"], g["weight_decay"]) for g in trainer.optimizer.param_groups] == [(0.9, 0.5), (0.9, 0.0)]
    assert series(trainer, "learning_rate") == [0.25]


def test_an_optimizer_and_a_class_for_one_are_refused_together():
    model = Classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    with pytest.raises(ValueError, match="received both"):
        Trainer(model=model, optimizers=(optimizer, None), optimizer_cls_and_kwargs=(torch.optim.SGD, {"lr": 1.0}))


def test_an_optimizer_over_parameters_that_model_init_replaces_is_refused():
    optimizer = torch.optim.SGD(Classifier().parameters(), lr=1.0)
    with pytest.raises(ValueError, match="since train\\(\\) makes another model"):
        Trainer(model_init=Classifier, optimizers=(optimizer, None))


def test_names_that_decay_can_be_overridden(build):
    class NormsDecay(Trainer):
        def get_decay_parameter_names(self, model):
            return [*super().get_decay_parameter_names(model), "norm.weight"]

    trainer = build(NormsDecay, weight_decay=0.1, max_steps=1)
    assert Overridable.get_decay_parameter_names(trainer, trainer.model) == ["layer.weight"]
    trainer.train()
    decays, stays = trainer.optimizer.param_groups
    assert [p.shape for p in decays["params"]] == [(2, 2), (2,)]
    assert (len(stays["params"]), decays["weight_decay"]) == (2, 0.1)


def test_the_class_of_the_optimizer_can_be_overridden(build):
    class Own(Trainer):
        @staticmethod
        def get_optimizer_cls_and_kwargs(args, model=None):
            cls, kwargs = Trainer.get_optimizer_cls_and_kwargs(args, model)
            assert cls is torch.optim.AdamW
            return torch.optim.RAdam, {"lr": kwargs["lr"], "betas": kwargs["betas"]}

    trainer = build(Own, max_steps=1)
    trainer.train()
    assert type(trainer.optimizer) is torch.optim.RAdam


def test_a_model_init_may_take_the_trial(build):
    trials = []

    def init(trial):
        trials.append(trial)
        return Predictor()

    build(init={"model": None, "model_init": init}, max_steps=1).train(trial="t")
    assert trials == [None, "t"]


# ---- loaders


class OwnLoaders(Trainer):
    def get_train_dataloader(self):
        return DataLoader(self.train_dataset, batch_size=3, collate_fn=default_data_collator)

    def get_eval_dataloader(self, eval_dataset=None):
        rows = self.eval_dataset if eval_dataset is None else eval_dataset
        return DataLoader(rows, batch_size=4, collate_fn=default_data_collator)

    def get_test_dataloader(self, test_dataset):
        return DataLoader(test_dataset[:5], batch_size=5, collate_fn=default_data_collator)


def test_a_training_loader_of_the_subclass_decides_batches_and_steps(build):
    seen = []

    class Watched(OwnLoaders):
        def compute_loss(self, model, inputs, return_outputs=False):
            seen.append(len(inputs["x"]))
            return super().compute_loss(model, inputs, return_outputs)

    trainer = build(Watched, gradient_accumulation_steps=2, num_train_epochs=2)
    assert trainer.train().global_step == 4  # batches of 3, 3, 3, 1: two windows an epoch
    assert seen == [3, 3, 3, 1] * 2
    assert trainer.state.epoch == 2.0
    assert series(trainer, "epoch")[0] == 0.5


def test_evaluation_and_test_loaders_of_the_subclass_are_read(build):
    trainer = build(OwnLoaders)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(build().evaluate()["eval_loss"], rel=1e-6)
    assert trainer.predict(ROWS).predictions.shape == (5, 2)


def test_a_loader_of_super_may_be_changed(build):
    class Half(Trainer):
        def get_train_dataloader(self):
            self.train_dataset = self.train_dataset[:4]
            return super().get_train_dataloader()

    assert build(Half, num_train_epochs=1).train().global_step == 2


def test_loaders_yield_batches_as_scripts_read_them(build):
    trainer = build(per_device_train_batch_size=4, per_device_eval_batch_size=3)
    batches = list(trainer.get_train_dataloader())
    assert [tuple(batch["x"].shape) for batch in batches] == [(4, 2), (4, 2), (2, 2)]
    assert len(trainer.get_train_dataloader()) == 3
    assert trainer.num_examples(trainer.get_train_dataloader()) == 10
    assert torch.cat([b["labels"] for b in trainer.get_eval_dataloader()]).tolist() == [r["labels"] for r in ROWS]
    assert len(trainer.get_test_dataloader(ROWS[:7])) == 3


def test_a_loader_without_data_is_refused(build):
    trainer = build(init={"train_dataset": None, "eval_dataset": None})
    with pytest.raises(ValueError, match="train needs a data set"):
        trainer.get_train_dataloader()
    with pytest.raises(ValueError, match="evaluate needs a data set"):
        trainer.get_eval_dataloader()


def test_a_run_on_a_loader_of_the_subclass_goes_on_bit_for_bit(build, tmp_path):
    class Shuffled(Trainer):
        def get_train_dataloader(self):
            return DataLoader(self.train_dataset, batch_size=2, shuffle=True, collate_fn=default_data_collator)

    options = {"save_strategy": "steps", "save_steps": 3}
    whole = build(Shuffled, output_dir=str(tmp_path / "whole"), **options)
    whole.train()
    rest = build(Shuffled, output_dir=str(tmp_path / "rest"), **options)
    rest.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    assert series(rest) == series(whole)


# ---- the rest


def test_an_overridden_log_sees_and_changes_every_entry(build):
    class Noted(Trainer):
        def log(self, logs, start_time=None):
            logs["noted"] = 1.0
            super().log(logs, start_time)

    trainer = build(Noted, max_steps=2, eval_strategy="steps", eval_steps=2)
    trainer.train()
    assert all(entry["noted"] == 1.0 for entry in trainer.state.log_history)


def test_an_overridden_evaluate_is_called_where_training_evaluates(build):
    class Fixed(Trainer):
        def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
            return {**super().evaluate(eval_dataset, ignore_keys, metric_key_prefix), "eval_fixed": 7.0}

    trainer = build(
        Fixed,
        eval_strategy="epoch",
        save_strategy="best",
        metric_for_best_model="fixed",
        greater_is_better=True,
        num_train_epochs=1,
    )
    trainer.train()
    assert trainer.state.best_metric == 7.0


def test_an_overridden_evaluate_may_run_the_loop_itself(build):
    class Answers(Trainer):
        def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
            output = self.evaluation_loop(self.get_eval_dataloader(eval_dataset), "Evaluation", False)
            metrics = {**output.metrics, "eval_rows": output.num_samples, "eval_width": output.predictions.shape[1]}
            self.log(metrics)
            return metrics

    found = build(Answers).evaluate()
    assert (found["eval_rows"], found["eval_width"]) == (10, 2)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_would_never_be_called_is_refused_with_what_to_override(name):
    cls = type("Mine", (Trainer,), {name: lambda self, *args, **kwargs: None})
    with pytest.raises(NotImplementedError, match=rf"Mine overrides .*\n- {name}: override "):
        cls(model=Classifier())


def test_learning_rates_and_trainable_weights_are_told(build):
    trainer = build(max_steps=1)
    with pytest.raises(ValueError, match="call it after train"):
        trainer.get_learning_rates()
    trainer.train()
    assert trainer.get_learning_rates() == [0.0, 0.0]
    assert trainer.get_num_trainable_parameters() == 2 * 2 + 2 + 2 + 2
    trainer.model.layer.requires_grad_(False)
    assert trainer.get_num_trainable_parameters() == 4


def test_this_process_is_the_one_that_writes(build, monkeypatch):
    trainer = build()
    assert trainer.is_world_process_zero()
    assert trainer.is_local_process_zero()
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert not trainer.is_world_process_zero()
    assert not trainer.is_local_process_zero()


def test_operations_are_those_of_the_override(build):
    class Counts(Trainer):
        def floating_point_ops(self, inputs):
            return len(inputs["x"])

    trainer = build(Counts, gradient_accumulation_steps=2)
    assert trainer.train().metrics["total_flos"] == trainer.state.total_flos == 2 * 10


def test_operations_and_tokens_go_on_where_a_run_stopped(build, tmp_path):
    class Counts(Trainer):
        def floating_point_ops(self, inputs):
            return len(inputs["x"])

    options = {"save_strategy": "steps", "save_steps": 3}
    build(Counts, output_dir=str(tmp_path / "whole"), **options).train()
    rest = build(Counts, output_dir=str(tmp_path / "rest"), **options)
    rest.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    assert rest.state.total_flos == 20


# ---- metrics.jsonl, and callbacks of Lightning


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_metrics_jsonl_holds_each_log_and_what_the_peer_does_not_have(build, tmp_path):
    trainer = build(max_steps=3, max_grad_norm=1e-3, label_smoothing_factor=0.1, eval_strategy="epoch")
    trainer.train()
    found = lines(tmp_path / "run")
    beside = {"clipped_share", "skipped_steps", "unsmoothed_loss"}
    assert [{k: v for k, v in line.items() if k not in beside} for line in found] == trainer.state.log_history
    assert all(beside <= set(line) for line in found if "loss" in line)
    assert not any(beside & set(entry) for entry in trainer.state.log_history)
    assert [line["clipped_share"] for line in found if "loss" in line] == [1.0, 1.0, 1.0]
    trainer.evaluate()
    assert len(lines(tmp_path / "run")) == len(found) + 1


def test_the_clipped_share_is_of_the_steps_since_the_last_log(build, tmp_path):
    norms = build(max_steps=6, max_grad_norm=0)
    norms.train()
    assert [line["clipped_share"] for line in lines(tmp_path / "run") if "loss" in line] == [0.0] * 6
    seen = build(max_steps=6, logging_steps=3, max_grad_norm=sorted(series(norms, "grad_norm"))[3])
    seen.train()
    shares = [line["clipped_share"] for line in lines(tmp_path / "run") if "loss" in line]
    assert all(0 <= share <= 1 for share in shares)
    assert any(share > 0 for share in shares)


def test_metrics_jsonl_goes_on_without_lost_or_repeated_lines(build, tmp_path):
    options = {"save_strategy": "steps", "save_steps": 4, "logging_steps": 3, "max_grad_norm": 0.5}
    build(output_dir=str(tmp_path / "whole"), **options).train()
    whole = lines(tmp_path / "whole")
    run = build(output_dir=str(tmp_path / "run"), **options)
    run.train()  # further than the checkpoint that it then goes on from
    build(output_dir=str(tmp_path / "run"), **options).train(str(tmp_path / "run" / "checkpoint-4"))
    found = lines(tmp_path / "run")
    timed = ("train_runtime", "train_samples_per_second", "train_steps_per_second")
    for line in (*whole, *found):
        for name in timed:
            line.pop(name, None)
    assert found == whole


def test_callbacks_of_lightning_stand_in_the_same_list(build, tmp_path):
    calls = []

    class Counts(pl.Callback):
        steps = 0

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            self.steps += 1

        def on_validation_end(self, trainer, pl_module):
            calls.append("validated")

        def state_dict(self):
            return {"steps": self.steps}

        def load_state_dict(self, state_dict):
            self.steps = state_dict["steps"]

    counts = Counts()
    options = {"save_strategy": "steps", "save_steps": 4, "eval_strategy": "epoch"}
    trainer = build(init={"callbacks": [counts]}, **options)
    trainer.train()
    assert (counts.steps, calls) == (10, ["validated", "validated"])
    later = Counts()
    build(init={"callbacks": [later]}, **options).train(str(tmp_path / "run" / "checkpoint-4"))
    assert later.steps == 10
    assert trainer.pop_callback(Counts) is counts
    trainer.add_callback(Counts)
    trainer.evaluate()
    assert len(calls) == 2 + 2 + 1


def test_a_logger_without_its_package_is_refused_by_name(build):
    with pytest.raises(ImportError, match=r"report_to='wandb' needs the package wandb.*pip install wandb mlflow"):
        build(report_to=["wandb", "mlflow", "csv"])


def test_numbers_go_to_csv_with_what_the_peer_does_not_have(build, tmp_path):
    build(max_steps=3, report_to="csv").train()
    header, *rows = (tmp_path / "run" / "runs" / "csv" / "version_0" / "metrics.csv").read_text().splitlines()
    assert {"train/loss", "train/learning_rate", "train/clipped_share", "step"} <= set(header.split(","))
    steps = [row.split(",")[header.split(",").index("step")] for row in rows]
    assert steps[:3] == ["1", "2", "3"]


# ---- a trainer's own way to save


class Extra(Trainer):
    """Adds a file to whatever is saved, and says where it was called."""

    def save_model(self, output_dir=None, _internal_call=False):
        super().save_model(output_dir, _internal_call)
        self.seen = [*getattr(self, "seen", []), (Path(output_dir).name, self.state.global_step, _internal_call)]
        (Path(output_dir) / "notes").mkdir()
        (Path(output_dir) / "notes" / "step.txt").write_text(str(self.state.global_step))
        (Path(output_dir) / "optimizer.pt").write_text("not an optimizer")


def test_an_own_save_model_writes_checkpoints_too(build, tmp_path):
    trainer = build(Extra, save_strategy="steps", save_steps=2, max_steps=4)
    trainer.train()
    assert trainer.seen == [("checkpoint-2", 2, True), ("checkpoint-4", 4, True)]
    assert sorted(path.name for path in (tmp_path / "run").glob("*")) == [
        "checkpoint-2",
        "checkpoint-4",
        "metrics.jsonl",
    ]
    for step in (2, 4):
        folder = tmp_path / "run" / f"checkpoint-{step}"
        assert (folder / "notes" / "step.txt").read_text() == str(step)
        assert verify(folder) is None
        assert "notes/step.txt" in json.loads((folder / "manifest.json").read_text())["files"]
    resumed = build(Extra, save_strategy="no", max_steps=5)
    assert resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-4")).global_step == 5


def test_an_own_save_decides_which_weights_a_checkpoint_holds(build, tmp_path):
    class Renamed(Trainer):
        def _save(self, output_dir=None, state_dict=None):
            weights = {f"inner.{name}": tensor for name, tensor in self.model.state_dict().items()}
            super()._save(output_dir, state_dict=weights)

    trainer = build(Renamed, save_strategy="steps", save_steps=2, max_steps=2)
    trainer.train()
    trainer.save_model(str(tmp_path / "final"))
    for folder in (tmp_path / "run" / "checkpoint-2", tmp_path / "final"):
        with safe_open(folder / "model.safetensors", "pt") as file:
            assert all(name.startswith("inner.") for name in file.keys())  # noqa: SIM118


def test_an_own_save_model_that_writes_no_weights_leaves_a_run_that_can_go_on(build, tmp_path):
    class Only(Trainer):
        def save_model(self, output_dir=None):
            (Path(output_dir) / "adapter.txt").write_text("small")

    build(Only, save_strategy="steps", save_steps=2, max_steps=2).train()
    folder = tmp_path / "run" / "checkpoint-2"
    assert (folder / "adapter.txt").is_file()
    assert (folder / "model.safetensors").is_file()
    assert build(max_steps=3).train(resume_from_checkpoint=str(folder)).global_step == 3


def test_an_own_save_model_that_fails_ends_the_run_and_leaves_nothing_half_written(build, tmp_path):
    class Broken(Trainer):
        def save_model(self, output_dir=None, _internal_call=False):
            raise RuntimeError("no licence")

    with pytest.raises(RuntimeError, match="no licence"):
        build(Broken, save_strategy="steps", save_steps=2, max_steps=4).train()
    assert [path.name for path in (tmp_path / "run").glob("*") if "checkpoint" in path.name] == []
