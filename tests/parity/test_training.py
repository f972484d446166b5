"""Training step by step beside `transformers.Trainer`: same seed, same rows, no dropout."""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset

import lt_trainer

transformers = pytest.importorskip("transformers")

TEXTS = [
    "a good film",
    "the plot was dull and slow",
    "very great",
    "never good",
    "it is bad",
    "a great actor in it",
] * 6
LABELS = [1, 0, 1, 0, 0, 1] * 6

pytestmark = pytest.mark.filterwarnings("ignore")  # those of transformers and accelerate are theirs


def head_of(library, folder, head):
    torch.manual_seed(0)
    auto = {"sequence": "AutoModelForSequenceClassification", "masked": "AutoModelForMaskedLM"}[head]
    model = getattr(library, auto).from_pretrained(folder, **({"num_labels": 2} if head == "sequence" else {}))
    if head == "sequence":  # new weights: the same in both
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for layer in (model.bert.pooler.dense, model.classifier):
                layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) * 0.02)
                layer.bias.zero_()
    return model


def rows_for(tokenizer, head):
    encoded = dict(tokenizer(TEXTS))
    if head == "sequence":
        return Dataset.from_dict({**encoded, "labels": LABELS})
    labels = [
        [token if (row + i) % 4 == 1 else -100 for i, token in enumerate(ids)]
        for row, ids in enumerate(encoded["input_ids"])
    ]
    return Dataset.from_dict({**encoded, "labels": labels})


def train(library, folder, head, output_dir, **options):
    tokenizer = library.AutoTokenizer.from_pretrained(folder)
    rows = rows_for(lt_trainer.AutoTokenizer.from_pretrained(folder), head)
    collator = library.DataCollatorWithPadding if head == "sequence" else library.DataCollatorForTokenClassification
    model = head_of(library, folder, head)
    settings = {
        "output_dir": str(output_dir),
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
    }
    trainer = library.Trainer(
        model=model,
        args=library.TrainingArguments(**{**settings, **options}),
        train_dataset=rows,
        eval_dataset=rows.select(range(10)),
        data_collator=collator(tokenizer),
    )
    trainer.train()
    return trainer


def entries(trainer, key):
    return [float(entry[key]) for entry in trainer.state.log_history if key in entry]


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
