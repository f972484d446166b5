"""What the processes of `test_launchers.py` run: trains a tiny classifier and, on process 0, prints what it saw."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import torch

torch.set_num_threads(1)

from datasets import load_from_disk  # noqa: E402

from lt_trainer import (  # noqa: E402
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)


class SignalOneRank(TrainerCallback):
    """Ends one process of several in the middle of an epoch, the way that a scheduler does."""

    def on_step_begin(self, args, state, control, **kwargs):
        rank = os.environ.get("RANK", os.environ.get("LOCAL_RANK"))
        if os.environ.get("SIGNAL_RANK") == rank and state.global_step == 1:
            os.kill(os.getpid(), int(os.environ.get("SIGNAL", signal.SIGTERM)))


def main(folder: Path, output_dir: str, per_device: int, devices: int | None) -> None:
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(folder / "model", num_labels=2)
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    rows = load_from_disk(str(folder / "rows"))
    if os.environ.get("FEWER_ROWS_ON", "none") == os.environ.get("RANK"):
        rows = rows.select(range(20))
    args = TrainingArguments(
        output_dir=output_dir,
        num_train_epochs=2,
        per_device_train_batch_size=per_device,
        gradient_accumulation_steps=2,
        per_device_eval_batch_size=3,
        learning_rate=1e-3,
        logging_steps=1,
        save_steps=3,
        eval_strategy="epoch",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        devices=devices,
        ddp_timeout=600,
        ddp_find_unused_parameters=True,
        deepspeed={"zero_optimization": {"stage": int(os.environ["ZERO"])}} if "ZERO" in os.environ else None,
        bf16="BF16" in os.environ,
    )
    with args.main_process_first(desc="a file that all need"):
        made = Path(f"{output_dir}.made")
        assert made.exists() == (args.process_index > 0 or "RESUME" in os.environ)
        made.touch()
    trainer = Trainer(
        model=model,
        args=args,
        train_dataset=rows,
        eval_dataset=rows.select(range(7)),
        data_collator=DataCollatorWithPadding(tokenizer),
        processing_class=tokenizer,
        callbacks=[SignalOneRank] if "SIGNAL_RANK" in os.environ else [],
        compute_metrics=lambda p: {"rows": len(p.label_ids), "labels": int(p.label_ids.sum())},
    )
    trainer.train(resume_from_checkpoint="RESUME" in os.environ)
    predictions = trainer.predict(rows).predictions
    trainer.save_model(f"{output_dir}/final")
    if trainer.is_world_process_zero():
        left_out = ("runtime", "second", "flos")  # flos count padding, of which smaller micro-batches have less
        history = [
            {k: v for k, v in e.items() if not any(word in k for word in left_out)} for e in trainer.state.log_history
        ]
        print("RESULT " + json.dumps({"history": history, "predictions": predictions.tolist()}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else None)
