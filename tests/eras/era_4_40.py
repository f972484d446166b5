"""In the manner of 4.40: masked language modelling, `save_safetensors`, accelerate's settings one by one, callbacks."""

import math
import sys

from datasets import Dataset

from lt_trainer import (
    AutoModelForMaskedLM,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

folder, output_dir = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(folder)
texts = ["the film was good", "a bad plot", "it was very great and funny", "the story is dull and slow"] * 4
rows = Dataset.from_dict({"text": texts}).map(
    lambda examples: tokenizer(examples["text"], return_special_tokens_mask=True), batched=True, remove_columns=["text"]
)
seen = []


class PrinterOfEpochs(TrainerCallback):
    def on_epoch_end(self, args, state, control, **kwargs):
        seen.append(state.epoch)
        return control


training_args = TrainingArguments(
    output_dir=output_dir,
    evaluation_strategy="steps",
    eval_steps=0.5,
    logging_steps=2,
    save_strategy="no",
    num_train_epochs=2,
    per_device_train_batch_size=4,
    gradient_accumulation_steps=2,
    lr_scheduler_type="cosine",
    lr_scheduler_kwargs={},
    warmup_steps=1,
    save_safetensors=True,
    include_tokens_per_second=False,
    include_inputs_for_metrics=False,
    dispatch_batches=None,
    split_batches=False,
    accelerator_config=None,
    jit_mode_eval=False,
    use_ipex=False,
    tpu_num_cores=None,
    mp_parameters="",
    ray_scope="last",
    optim="adamw_torch",
    report_to="none",
)
trainer = Trainer(
    model=AutoModelForMaskedLM.from_pretrained(folder),
    args=training_args,
    train_dataset=rows,
    eval_dataset=rows,
    tokenizer=tokenizer,
    data_collator=DataCollatorForLanguageModeling(tokenizer=tokenizer, mlm_probability=0.15),
    callbacks=[PrinterOfEpochs],
)
trainer.train()
perplexity = math.exp(trainer.evaluate()["eval_loss"])
assert seen == [1.0, 2.0]
assert perplexity > 1
