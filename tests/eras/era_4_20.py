"""In the manner of run_glue.py of 4.20: dataclasses on the command line, former names, a tokenizer to Trainer."""

import sys
from dataclasses import dataclass, field
from typing import Optional

import numpy as np
from datasets import Dataset

from lt_trainer import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    EvalPrediction,
    HfArgumentParser,
    Trainer,
    TrainingArguments,
    default_data_collator,
    set_seed,
)
from lt_trainer.trainer_utils import get_last_checkpoint


@dataclass
class ModelArguments:
    model_name_or_path: str = field(metadata={"help": "Path to a pretrained model"})
    tokenizer_name: Optional[str] = field(default=None, metadata={"help": "Another tokenizer"})
    use_fast_tokenizer: bool = field(default=True)
    max_seq_length: int = field(default=16)


folder, output_dir = sys.argv[1:]
line = f"--model_name_or_path {folder} --output_dir {output_dir} --overwrite_output_dir --do_train --do_eval --no_cuda"
line += " --evaluation_strategy steps --eval_steps 2 --save_steps 2 --logging_steps 1 --max_steps 4 --warmup_ratio 0.25"
line += " --per_gpu_train_batch_size 4 --optim adamw_hf --fp16_backend auto --report_to none --disable_tqdm True"
line += " --save_total_limit 1 --load_best_model_at_end --metric_for_best_model accuracy --past_index -1"

parser = HfArgumentParser((ModelArguments, TrainingArguments))
model_args, training_args = parser.parse_args_into_dataclasses(line.split())
assert training_args.local_rank in (-1, 0)
assert training_args.evaluation_strategy == "steps"

last_checkpoint = None
if training_args.do_train and not training_args.overwrite_output_dir:
    last_checkpoint = get_last_checkpoint(training_args.output_dir)
set_seed(training_args.seed)

config = AutoConfig.from_pretrained(model_args.model_name_or_path, num_labels=2)
tokenizer = AutoTokenizer.from_pretrained(
    model_args.tokenizer_name or model_args.model_name_or_path, use_fast=model_args.use_fast_tokenizer
)
model = AutoModelForSequenceClassification.from_pretrained(model_args.model_name_or_path, config=config)
raw = Dataset.from_dict({"sentence": ["good film", "bad plot", "great", "dull"] * 6, "label": [1, 0, 1, 0] * 6})


def preprocess_function(examples):
    return tokenizer(examples["sentence"], padding="max_length", max_length=model_args.max_seq_length, truncation=True)


with training_args.main_process_first(desc="dataset map pre-processing"):
    rows = raw.map(preprocess_function, batched=True, desc="Running tokenizer on dataset")


def compute_metrics(p: EvalPrediction):
    predictions = p.predictions[0] if isinstance(p.predictions, tuple) else p.predictions
    return {"accuracy": (np.argmax(predictions, axis=1) == p.label_ids).astype(np.float32).mean().item()}


trainer = Trainer(
    model=model,
    args=training_args,
    train_dataset=rows if training_args.do_train else None,
    eval_dataset=rows if training_args.do_eval else None,
    compute_metrics=compute_metrics,
    tokenizer=tokenizer,
    data_collator=default_data_collator,
)
train_result = trainer.train(resume_from_checkpoint=last_checkpoint)
metrics = {**train_result.metrics, "train_samples": len(rows)}
trainer.save_model()
trainer.log_metrics("train", metrics)
trainer.save_metrics("train", metrics)
trainer.save_state()
metrics = trainer.evaluate(eval_dataset=rows)
trainer.log_metrics("eval", metrics)
assert trainer.is_world_process_zero()
assert get_last_checkpoint(output_dir).endswith("-4")
