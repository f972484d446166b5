"""What the arguments mean for a step, beside `transformers.Trainer`."""

from __future__ import annotations

import pytest
import torch

import lt_trainer
from tests.parity.beside import entries, train

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore")  # those of transformers and accelerate are theirs


@pytest.mark.parametrize(
    "options",
    [
        {"lr_scheduler_type": "reduce_lr_on_plateau", "lr_scheduler_kwargs": {"patience": 0, "threshold": 0.5}},
        {"lr_scheduler_type": "greedy", "lr_scheduler_kwargs": {"patience": 0, "min_lr": 1e-5}},
    ],
)
def test_rates_that_follow_the_evaluation_equal_those_of_transformers(tiny_bert, tmp_path, options):
    folder = tiny_bert(head="masked")
    options |= {"num_train_epochs": 2, "eval_strategy": "steps", "eval_steps": 2}
    ours = train(lt_trainer, folder, "sequence", tmp_path / "ours", **options)
    theirs = train(transformers, folder, "sequence", tmp_path / "theirs", **options)
    rates = entries(ours, "learning_rate")
    assert rates == pytest.approx(entries(theirs, "learning_rate"), rel=1e-12)
    assert len(set(rates)) > 3


@pytest.mark.parametrize("optim", ["adafactor", "sgd", "rmsprop", "adagrad"])
def test_other_optimizers_step_as_in_transformers(tiny_bert, tmp_path, optim):
    folder = tiny_bert(head="masked")
    options = {"optim": optim, "max_steps": 5, "weight_decay": 0.1, "optim_args": None}
    ours = train(lt_trainer, folder, "sequence", tmp_path / "ours", **options)
    theirs = train(transformers, folder, "sequence", tmp_path / "theirs", **options)
    for key in ("loss", "grad_norm"):
        assert entries(ours, key) == pytest.approx(entries(theirs, key), rel=2e-4), key


def test_a_class_and_its_arguments_train_as_in_transformers(tiny_bert, tmp_path):
    folder = tiny_bert(head="masked")
    given = (torch.optim.SGD, {"lr": 0.1, "momentum": 0.5})
    options = {"max_steps": 4, "weight_decay": 0.1, "facade": {"optimizer_cls_and_kwargs": given}}
    ours = train(lt_trainer, folder, "sequence", tmp_path / "ours", **options)
    theirs = train(transformers, folder, "sequence", tmp_path / "theirs", **options)
    assert type(ours.optimizer) is torch.optim.SGD
    for key in ("loss", "learning_rate"):
        assert entries(ours, key) == pytest.approx(entries(theirs, key), rel=1e-5), key


@pytest.mark.parametrize("head", ["sequence", "masked"])
def test_smoothed_losses_equal_those_of_transformers_in_training_and_evaluation(tiny_bert, tmp_path, head):
    folder = tiny_bert(head="masked")
    options = {"max_steps": 3, "label_smoothing_factor": 0.2, "eval_strategy": "steps", "eval_steps": 3}
    ours = train(lt_trainer, folder, head, tmp_path / "ours", **options)
    theirs = train(transformers, folder, head, tmp_path / "theirs", **options)
    for key in ("loss", "grad_norm"):
        assert entries(ours, key) == pytest.approx(entries(theirs, key), rel=2e-4), key
    if head == "sequence":  # elsewhere its mean depends on the size of the batches
        assert entries(ours, "eval_loss") == pytest.approx(entries(theirs, "eval_loss"), rel=1e-4)


@pytest.mark.parametrize("options", [{"label_smoothing_factor": 0.2}, {"class_weights": [0.5, 2.0]}])
def test_smoothed_and_weighed_losses_do_not_depend_on_how_a_step_is_cut_up(tiny_bert, tmp_path, options):
    folder = tiny_bert(head="masked")
    losses = []
    for size, accumulation in ((8, 1), (2, 4), (3, 3)):
        cut = {"per_device_train_batch_size": size, "gradient_accumulation_steps": accumulation, "learning_rate": 0.0}
        ours = train(lt_trainer, folder, "sequence", tmp_path / f"{size}", max_steps=1, data_seed=1, **options, **cut)
        losses.append(entries(ours, "loss")[0])
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert losses[0] != pytest.approx(losses[2], rel=1e-6)  # nine rows


def test_another_number_of_class_weights_than_classes_is_refused(tiny_bert, tmp_path):
    with pytest.raises(lt_trainer.ConfigurationError, match=r"class_weights=.*: expected 2 numbers"):
        train(lt_trainer, tiny_bert(head="masked"), "sequence", tmp_path, class_weights=[1, 2, 3])


@pytest.mark.parametrize("strategy", ["group_by_length", "sequential"])
def test_rows_come_in_the_order_of_transformers(tiny_bert, tmp_path, strategy):
    folder = tiny_bert(head="masked")
    options = {"num_train_epochs": 2, "train_sampling_strategy": strategy, "gradient_accumulation_steps": 1}
    ours = train(lt_trainer, folder, "sequence", tmp_path / "ours", **options)
    theirs = train(transformers, folder, "sequence", tmp_path / "theirs", **options)
    assert entries(ours, "loss") == pytest.approx(entries(theirs, "loss"), rel=1e-4)


@pytest.mark.parametrize("counted", ["all", "non_padding", True])
def test_input_tokens_are_counted_as_in_transformers(tiny_bert, tmp_path, counted):
    folder = tiny_bert(head="masked")
    options = {"max_steps": 4, "include_num_input_tokens_seen": counted, "gradient_accumulation_steps": 2}
    ours = train(lt_trainer, folder, "sequence", tmp_path / "ours", **options)
    theirs = train(transformers, folder, "sequence", tmp_path / "theirs", **options)
    assert entries(ours, "num_input_tokens_seen") == entries(theirs, "num_input_tokens_seen")
    assert [e.keys() for e in ours.state.log_history[:4]] == [e.keys() for e in theirs.state.log_history[:4]]


def test_noise_on_embeddings_changes_training_and_stays_out_of_the_model(tiny_bert, tmp_path):
    folder = tiny_bert(head="masked")
    plain = train(lt_trainer, folder, "sequence", tmp_path / "plain", max_steps=2)
    noisy = train(lt_trainer, folder, "sequence", tmp_path / "noisy", max_steps=2, neftune_noise_alpha=5.0)
    assert entries(plain, "loss") != entries(noisy, "loss")
    assert not noisy.model.get_input_embeddings()._forward_hooks
    assert not noisy.model._forward_pre_hooks


def test_the_cache_of_the_gpu_is_emptied_as_often_as_asked(tiny_bert, tmp_path, monkeypatch):
    steps = []
    trainer = []
    monkeypatch.setattr("lt_trainer.machine.empty_cache", lambda: steps.append(trainer[0].state.global_step))

    class Note(lt_trainer.TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            trainer.append(type("Seen", (), {"state": state}))

    options = {"max_steps": 5, "torch_empty_cache_steps": 2, "facade": {"callbacks": [Note()]}}
    train(lt_trainer, tiny_bert(head="masked"), "sequence", tmp_path, **options)
    assert steps == [2, 4]


def test_full_determinism_is_switched_on_before_the_model_is_made(tiny_bert, tmp_path, monkeypatch):
    seeds = []
    monkeypatch.setattr("lt_trainer.trainer.enable_full_determinism", seeds.append)
    train(lt_trainer, tiny_bert(head="masked"), "sequence", tmp_path, max_steps=1, full_determinism=True, seed=7)
    assert seeds == [7]
