"""In the manner of 4.46: `processing_class`, `num_items_in_batch`, extra inputs for the metrics, causal modelling."""

import sys

import numpy as np
from datasets import Dataset

from lt_trainer import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)

folder, output_dir = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(folder)
rows = Dataset.from_dict({**tokenizer(["good film", "bad plot", "great", "dull"] * 4), "labels": [1, 0, 1, 0] * 4})


class CustomTrainer(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch)
        return (loss, outputs) if return_outputs else loss


def compute_metrics(p):
    assert p.inputs is not None
    return {"accuracy": float((np.argmax(p.predictions, axis=-1) == p.label_ids).mean())}


trainer = CustomTrainer(
    model=AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2),
    args=TrainingArguments(
        output_dir=output_dir,
        eval_strategy="epoch",
        save_strategy="epoch",
        eval_on_start=True,
        num_train_epochs=2,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        include_for_metrics=["inputs"],
        average_tokens_across_devices=True,
        batch_eval_metrics=False,
        load_best_model_at_end=True,
        report_to="none",
    ),
    train_dataset=rows,
    eval_dataset=rows,
    processing_class=tokenizer,
    data_collator=DataCollatorWithPadding(tokenizer),
    compute_metrics=compute_metrics,
)
trainer.train()
