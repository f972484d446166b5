"""What the processes of `test_fsdp.py` run: trains tiny models in several ways and, on process 0, prints what it saw.

With several processes the models are dealt out by FSDP2; with one they are not, and the numbers must be the same.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch

torch.set_num_threads(1)

from datasets import load_from_disk  # noqa: E402
from transformers import BertConfig, BertForSequenceClassification  # noqa: E402

from lt_trainer import (  # noqa: E402
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from lt_trainer.machine import global_rank  # noqa: E402
from tests.support import BERT_CONFIG  # noqa: E402


class Stop(TrainerCallback):
    """Ends the run after three steps."""

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step == 3


class SaveInside(TrainerCallback):
    """Saves the model in the middle of training, on every process."""

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 2:
            trainers[-1].save_model(f"{args.output_dir}/inside")


def native():
    torch.manual_seed(global_rank())  # the head has other weights on each process: those of the first count
    return AutoModelForSequenceClassification.from_pretrained(FOLDER / "model", num_labels=2)


def foreign():
    torch.manual_seed(global_rank())
    return BertForSequenceClassification(BertConfig(**BERT_CONFIG, num_labels=2))


def train(name, model, resume=None, callbacks=(), **options):
    shards = {"fsdp": options.pop("fsdp", True), "fsdp_config": options.pop("fsdp_config", None)} if SHARDS else {}
    options = {key: value for key, value in options.items() if not key.startswith("fsdp")}
    args = TrainingArguments(
        output_dir=f"{OUT}/{name}",
        num_train_epochs=2,
        per_device_train_batch_size=2 if SHARDS else 4,
        gradient_accumulation_steps=2,
        per_device_eval_batch_size=3,
        learning_rate=1e-3,
        weight_decay=0.1,
        max_grad_norm=0.1,
        logging_steps=1,
        save_steps=3,
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        **shards,
        **options,
    )
    tokenizer = AutoTokenizer.from_pretrained(FOLDER / "model")
    rows = load_from_disk(str(FOLDER / "rows"))
    trainer = Trainer(
        model,
        args,
        DataCollatorWithPadding(tokenizer),
        train_dataset=rows,
        eval_dataset=rows.select(range(7)),
        processing_class=tokenizer,
        callbacks=[*callbacks],
        compute_metrics=lambda p: {"rows": len(p.label_ids), "labels": int(p.label_ids.sum())},
    )
    trainers.append(trainer)
    before = dict(model.named_parameters())
    trainer.train(resume_from_checkpoint=resume)
    assert type(model).__name__ in ("BertForSequenceClassification",)
    assert all(before[key] is value for key, value in model.named_parameters())  # its owner's parameters
    found = trainer.evaluate()
    trainer.save_model(f"{OUT}/{name}/final")
    steps = [{k: e[k] for k in ("step", "loss", "grad_norm", "eval_loss") if k in e} for e in trainer.state.log_history]
    return {
        "history": [step for step in steps if len(step) > 1],
        "evaluation": [found["eval_loss"], found["eval_rows"], found["eval_labels"]],
        "logits": trainer.predict(rows).predictions.tolist(),
    }


def main():
    best = {"eval_strategy": "steps", "eval_steps": 3, "load_best_model_at_end": True, "greater_is_better": True}
    found = {"native": train("native", native(), callbacks=[SaveInside], metric_for_best_model="loss", **best)}
    if len(sys.argv) > 3:
        others(found, sys.argv[3])
    if global_rank() == 0:
        print("RESULT " + json.dumps(found), flush=True)


def others(found, checkpoint):
    """All other ways; `checkpoint` is what another number of processes saved."""
    found["stopped"] = train("resumed", native(), callbacks=[Stop], fsdp="full_shard auto_wrap")
    found["resumed"] = train("resumed", native(), resume=True, fsdp="shard_grad_op")
    config = {"activation_checkpointing": True, "transformer_layer_cls_to_wrap": "BertLayer", "min_num_params": 100}
    found["foreign"] = train("foreign", foreign(), fsdp_config=config)
    found["together"] = train("together", native(), fsdp_config={"auto_wrap_policy": "NO_WRAP"}, bf16=True)
    found["elsewhere"] = train("elsewhere", native(), resume=checkpoint)


FOLDER, OUT = Path(sys.argv[1]), sys.argv[2]
SHARDS = "WORLD_SIZE" in os.environ
trainers: list[Trainer] = []

if __name__ == "__main__":
    main()
