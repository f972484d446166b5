"""In the manner of notebooks around 4.30: model_init, early stopping, `evaluation_strategy="epoch"`, a compute_loss."""

import sys

import numpy as np
import torch
from datasets import Dataset

from lt_trainer import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    EarlyStoppingCallback,
    IntervalStrategy,
    Trainer,
    TrainingArguments,
)

folder, output_dir = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(folder)
raw = Dataset.from_dict({"text": ["good film", "bad plot", "great", "dull and slow"] * 4, "label": [1, 0, 1, 0] * 4})
tokenized = raw.map(lambda examples: tokenizer(examples["text"], truncation=True), batched=True)


def model_init():
    return AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)


class CustomTrainer(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False):
        labels = inputs.get("labels")
        outputs = model(**inputs)
        logits = outputs.get("logits")
        loss_fct = torch.nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0]))
        loss = loss_fct(logits.view(-1, self.model.config.num_labels), labels.view(-1))
        return (loss, outputs) if return_outputs else loss


args = TrainingArguments(
    output_dir,
    overwrite_output_dir=True,
    evaluation_strategy=IntervalStrategy.EPOCH,
    save_strategy="epoch",
    learning_rate=2e-5,
    per_device_train_batch_size=4,
    per_device_eval_batch_size=4,
    num_train_epochs=2,
    weight_decay=0.01,
    load_best_model_at_end=True,
    metric_for_best_model="accuracy",
    greater_is_better=True,
    logging_dir=f"{output_dir}/logs",
    logging_strategy="epoch",
    seed=0,
    fp16=torch.cuda.is_available(),
    half_precision_backend="auto",
    use_mps_device=False,
    sharded_ddp="",
    fsdp="",
    dataloader_drop_last=False,
    push_to_hub=False,
    push_to_hub_token=None,
    report_to=["tensorboard"],
)
trainer = CustomTrainer(
    args=args,
    model_init=model_init,
    train_dataset=tokenized,
    eval_dataset=tokenized,
    tokenizer=tokenizer,
    data_collator=DataCollatorWithPadding(tokenizer=tokenizer, padding=True),
    compute_metrics=lambda p: {"accuracy": float((np.argmax(p.predictions, axis=-1) == p.label_ids).mean())},
    callbacks=[EarlyStoppingCallback(early_stopping_patience=3)],
)
trainer.train()
predictions, labels, metrics = trainer.predict(tokenized)
assert predictions.shape == (16, 2)
