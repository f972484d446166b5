"""Training step by step beside `transformers.Trainer`: same seed, same rows, no dropout."""

from __future__ import annotations

import pytest
import torch

import lt_trainer
from tests import families
from tests.parity.beside import entries, rows_for, train

transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.filterwarnings("ignore")  # those of transformers and accelerate are theirs


@pytest.mark.parametrize(
    ("head", "options"),
    [
        ("sequence", {"num_train_epochs": 2, "lr_scheduler_type": "cosine", "warmup_steps": 3}),
        ("sequence", {"max_steps": 7, "max_grad_norm": 0.1, "weight_decay": 0.1, "optim": "adamw_torch"}),
        (
            "sequence",
            {"num_train_epochs": 1.5, "eval_strategy": "steps", "eval_steps": 4, "dataloader_drop_last": True},
        ),
        ("masked", {"num_train_epochs": 2, "data_seed": 7}),
    ],
)
def test_losses_norms_rates_and_epochs_equal_those_of_transformers(tiny_bert, tmp_path, head, options):
    folder = tiny_bert(head="masked")
    ours = train(lt_trainer, folder, head, tmp_path / "ours", **options)
    theirs = train(transformers, folder, head, tmp_path / "theirs", **options)
    assert ours.state.global_step == theirs.state.global_step
    for key, tolerance in (("loss", 1e-5), ("grad_norm", 1e-4), ("learning_rate", 1e-12), ("epoch", 1e-12)):
        assert entries(ours, key) == pytest.approx(entries(theirs, key), rel=tolerance), key
    assert [e["step"] for e in ours.state.log_history] == [e["step"] for e in theirs.state.log_history]
    # A softmax ignores the biases of the keys: their gradients are rounding, which Adam scales up.
    expected = {k: v for k, v in theirs.model.state_dict().items() if v.is_floating_point() and "key.bias" not in k}
    torch.testing.assert_close(
        {k: v for k, v in ours.model.state_dict().items() if k in expected}, expected, rtol=1e-3, atol=2e-5
    )


def test_a_foreign_model_trains_here_to_the_same_losses(tiny_bert, tmp_path):
    class Foreign:
        """Our facade around a model of `transformers`."""

        Trainer, TrainingArguments = lt_trainer.Trainer, lt_trainer.TrainingArguments
        AutoModelForSequenceClassification = transformers.AutoModelForSequenceClassification
        AutoTokenizer, DataCollatorWithPadding = transformers.AutoTokenizer, transformers.DataCollatorWithPadding

    folder = tiny_bert(head="masked")
    options = {"num_train_epochs": 1, "eval_strategy": "epoch"}
    ours = train(Foreign, folder, "sequence", tmp_path / "ours", **options)
    theirs = train(transformers, folder, "sequence", tmp_path / "theirs", **options)
    for key in ("loss", "grad_norm", "learning_rate"):
        assert entries(ours, key) == pytest.approx(entries(theirs, key), rel=1e-4), key
    ours.save_model(tmp_path / "saved")
    loaded, info = transformers.AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "saved", output_loading_info=True
    )
    assert not info["missing_keys"]
    assert torch.equal(loaded.classifier.weight, ours.model.classifier.weight)


def test_predictions_have_the_shapes_of_transformers(tiny_bert, tmp_path):
    folder = tiny_bert(head="masked")
    ours = train(lt_trainer, folder, "masked", tmp_path / "ours", max_steps=1)
    theirs = train(transformers, folder, "masked", tmp_path / "theirs", max_steps=1)
    rows = rows_for(lt_trainer.AutoTokenizer.from_pretrained(folder), "masked")
    a, b = ours.predict(rows), theirs.predict(rows)
    assert a.predictions.shape == b.predictions.shape
    assert (a.label_ids == b.label_ids).all()
    real = b.label_ids != -100
    assert a.predictions[real] == pytest.approx(b.predictions[real], rel=1e-3, abs=1e-4)
    assert set(a.metrics) - set(b.metrics) == set()


def test_a_checkpoint_of_ours_opens_in_transformers(tiny_bert, tmp_path):
    ours = train(
        lt_trainer,
        tiny_bert(head="masked"),
        "sequence",
        tmp_path / "ours",
        max_steps=2,
        save_strategy="steps",
        save_steps=2,
    )
    folder = tmp_path / "ours" / "checkpoint-2"
    model, info = transformers.AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    for name, value in ours.model.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name
    state = transformers.TrainerState.load_from_json(str(folder / "trainer_state.json"))
    assert state.global_step == 2
    optimizer = torch.load(folder / "optimizer.pt", weights_only=True)
    assert set(optimizer) == {"state", "param_groups"}


@pytest.mark.parametrize("bf16", [False, True], ids=["float32", "bfloat16"])
def test_norms_of_gradients_equal_those_of_transformers_for_gpt2(tmp_path, bf16):
    """Rows of one length: elsewhere the mean of `transformers` depends on how a step is cut up."""
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 16, "vocab_size": 60}
    config = transformers.GPT2Config(**sizes, embd_pdrop=0.0, attn_pdrop=0.0, resid_pdrop=0.0)
    folder = families.write(tmp_path / "model", config, "CausalLM")
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 60, (24, 12), generator=draw).tolist()
    norms = []
    for library in (lt_trainer, transformers):
        arguments = library.TrainingArguments(
            output_dir=str(tmp_path / "run"),
            max_steps=12,
            per_device_train_batch_size=4,
            learning_rate=1e-3,
            max_grad_norm=0.01,  # clips every step, whatever the mean is over
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            bf16=bf16,
        )
        trainer = library.Trainer(
            model=library.AutoModelForCausalLM.from_pretrained(folder),
            args=arguments,
            train_dataset=[{"input_ids": row, "labels": row} for row in ids],
            data_collator=library.default_data_collator,
        )
        trainer.train()
        norms.append(entries(trainer, "grad_norm"))
    assert len(norms[0]) == 12
    # Theirs shifts labels and divides by 12 a row where 11 are targets.
    assert norms[0] == pytest.approx([norm * 12 / 11 for norm in norms[1]], rel=3e-2 if bf16 else 1e-5)
