"""In the manner of 4.57: a causal model, grouped lengths, arguments set in groups, a run that goes on."""

import sys

from datasets import Dataset

from lt_trainer import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments
from lt_trainer.trainer_utils import get_last_checkpoint

folder, output_dir = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(folder)
rows = Dataset.from_dict({**tokenizer(["good film", "bad plot", "great", "dull"] * 4), "labels": [1, 0, 1, 0] * 4})
args = TrainingArguments(
    output_dir,
    group_by_length=True,
    label_smoothing_factor=0.1,
    neftune_noise_alpha=5,
    include_num_input_tokens_seen=True,
    warmup_ratio=0.1,
    logging_dir=f"{output_dir}/logs",
    save_safetensors=True,
    overwrite_output_dir=True,
    torch_compile=False,
    gradient_checkpointing=False,
    project="huggingface",
    report_to="none",
)
args = args.set_training(learning_rate=1e-4, batch_size=4, num_epochs=1).set_save(strategy="steps", steps=2)
args = args.set_evaluate(strategy="steps", steps=2, batch_size=4).set_optimizer(name="adamw_torch", beta1=0.8)


def make():
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)
    return Trainer(model, args, train_dataset=rows, eval_dataset=rows, processing_class=tokenizer)


make().train()
args.set_lr_scheduler(name="linear", num_epochs=2)
trainer = make()
trainer.train(resume_from_checkpoint=get_last_checkpoint(output_dir))
assert trainer.state.global_step == 8
assert trainer.state.num_input_tokens_seen > 0
