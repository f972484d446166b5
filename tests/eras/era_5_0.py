"""In the manner of 5.0: shares in `warmup_steps`, `dtype`, a loss function beside the model, subclassed arguments."""

import sys
from dataclasses import dataclass

import torch
from datasets import Dataset

from lt_trainer import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments

folder, output_dir = sys.argv[1:]


@dataclass
class MyArguments(TrainingArguments):
    positive_weight: float = 2.0


args = MyArguments(
    output_dir=output_dir,
    warmup_steps=0.1,
    max_steps=4,
    per_device_train_batch_size=4,
    logging_steps=0.5,
    eval_strategy="steps",
    eval_steps=0.5,
    save_strategy="best",
    metric_for_best_model="loss",
    train_sampling_strategy="sequential",
    positive_weight=3.0,
    bf16=True,
    use_cpu=True,
    report_to="none",
)
weights = torch.tensor([1.0, args.positive_weight])


def loss_func(outputs, labels, num_items_in_batch=None):
    total = torch.nn.functional.cross_entropy(outputs.logits.float(), labels, weight=weights, reduction="sum")
    return total / num_items_in_batch if num_items_in_batch is not None else total / len(labels)


tokenizer = AutoTokenizer.from_pretrained(folder)
rows = Dataset.from_dict({**tokenizer(["good film", "bad plot", "great", "dull"] * 4), "labels": [1, 0, 1, 0] * 4})
model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2, dtype="float32")
trainer = Trainer(
    model=model,
    args=args,
    train_dataset=rows,
    eval_dataset=rows,
    processing_class=tokenizer,
    compute_loss_func=loss_func,
)
trainer.train()
