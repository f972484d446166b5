"""The same training in two libraries: one tiny model, the same rows, no dropout."""

from __future__ import annotations

import torch
from datasets import Dataset

import lt_trainer

TEXTS = [
    "a good film",
    "the plot was dull and slow",
    "very great",
    "never good",
    "it is bad",
    "a great actor in it",
] * 6
LABELS = [1, 0, 1, 0, 0, 1] * 6


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


def train(library, folder, head, output_dir, facade=None, **options):
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
        **(facade or {}),
    )
    trainer.train()
    return trainer


def entries(trainer, key):
    return [float(entry[key]) for entry in trainer.state.log_history if key in entry]
