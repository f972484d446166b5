"""In the manner of 5.23: every group of the arguments touched once, several evaluation sets, parsed from a dict."""

import sys

from datasets import Dataset

from lt_trainer import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    HfArgumentParser,
    SchedulerType,
    Trainer,
    TrainingArguments,
)

folder, output_dir = sys.argv[1:]
(args,) = HfArgumentParser(TrainingArguments).parse_dict(
    {
        "output_dir": output_dir,
        "num_train_epochs": 1,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "lr_scheduler_type": SchedulerType.COSINE,
        "activation_checkpointing": False,
        "eval_strategy": "epoch",
        "eval_do_concat_batches": True,
        "save_strategy": "epoch",
        "save_total_limit": 2,
        "save_only_model": True,
        "load_best_model_at_end": True,
        "metric_for_best_model": "eval_first_loss",
        "enable_jit_checkpoint": True,
        "restore_callback_states_from_checkpoint": True,
        "train_sampling_strategy": "group_by_length",
        "dataloader_in_order": True,
        "log_level": "warning",
        "logging_first_step": True,
        "ddp_timeout": 600,
        "accelerator_config": None,
        "debug": "",
        "report_to": "none",
    }
)
tokenizer = AutoTokenizer.from_pretrained(folder)
rows = Dataset.from_dict({**tokenizer(["good film", "bad plot", "great", "dull"] * 4), "labels": [1, 0, 1, 0] * 4})
trainer = Trainer(
    model=AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2),
    args=args,
    train_dataset=rows,
    eval_dataset={"first": rows.select(range(8)), "second": rows.select(range(8, 16))},
    processing_class=tokenizer,
)
trainer.train()
assert trainer.args.device.type in ("cpu", "cuda", "mps")
assert {"eval_first_loss", "eval_second_loss"} <= {key for entry in trainer.state.log_history for key in entry}
