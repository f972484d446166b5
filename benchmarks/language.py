"""Language models from raw text: our tasks beside the example recipes of `transformers`, on WikiText-2.

    LT_TRAINER_DATA=folder python benchmarks/language.py [--steps 200] [--seeds 1,2]

Both begin with the same random weights, read the same files with the same tokenizer and take the same number of steps
of as many rows. The recipe is that of `run_clm.py` (lines of a file behind each other, cut into blocks) and of
`run_mlm.py --line_by_line` (masked by the collator). Ours is `Trainer(task=..., train_dataset=file)`. Whoever trained
it, a model is measured on the same rows and masks. Exits with 1 where the mean perplexities of a task are more than
`LIMIT` apart.
"""

from __future__ import annotations

import argparse
import importlib
import math
import os
import statistics
import sys
import tempfile
from itertools import chain
from pathlib import Path
from typing import Any

from common import LIBRARIES, circumstances, table, worker

TASKS = ("causal-lm", "masked-lm")
HEADS = {"causal-lm": "AutoModelForCausalLM", "masked-lm": "AutoModelForMaskedLM"}
FAMILIES = {"causal-lm": "gpt2", "masked-lm": "bert"}
BLOCK, BATCH = 128, 8
EVAL_LINES = 400  # of the test file
LIMIT = 0.05  # between the mean perplexities, as a share


def prepare(folder: str, text: Path) -> None:
    """Writes a model of two layers of width 128 for each task, with a tokenizer of its family made from the text."""
    import torch

    import lt_trainer
    from lt_trainer.data.vocabulary import word_vocabulary, write_bert_vocabulary

    lines = text.read_text(encoding="utf-8").splitlines()
    sizes = {
        "gpt2": {"n_embd": 128, "n_layer": 2, "n_head": 4, "n_positions": BLOCK, "bos_token_id": 0, "eos_token_id": 0},
        "bert": {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 512},
    }
    for task, family in FAMILIES.items():
        Path(folder, task).mkdir()
        if family == "bert":
            write_bert_vocabulary(f"{folder}/{task}", word_vocabulary(lines, size=4000), model_max_length=BLOCK)
        else:
            byte_tokenizer(lines).save_pretrained(f"{folder}/{task}")
        torch.manual_seed(0)
        tokens = len(lt_trainer.AutoTokenizer.from_pretrained(f"{folder}/{task}"))
        config = lt_trainer.AutoConfig.for_model(family, vocab_size=tokens, **sizes[family])
        getattr(lt_trainer, HEADS[task]).from_config(config).save_pretrained(f"{folder}/{task}")


def byte_tokenizer(lines: list[str]) -> Any:
    """A tokenizer of GPT-2's kind with 4,000 tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    from lt_trainer.tokenization.tokenizer import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=4000, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet)
    backend.train_from_iterator(lines, trainer)
    return PreTrainedTokenizerFast(backend, eos_token="<|endoftext|>", bos_token="<|endoftext|>")


def train(library: str, task: str, folder: str, text: str, steps: int, seed: int, output: str) -> None:
    """Trains one model by the recipe of a library and saves it."""
    lib = importlib.import_module(library)
    arguments = lib.TrainingArguments(
        output_dir=output,
        max_steps=steps,
        per_device_train_batch_size=BATCH,
        learning_rate=1e-3,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        seed=seed,
    )
    tokenizer = lib.AutoTokenizer.from_pretrained(f"{folder}/{task}")
    model = getattr(lib, HEADS[task]).from_pretrained(f"{folder}/{task}")
    made = ours(task, text, tokenizer) if library == "lt_trainer" else recipe(lib, task, text, tokenizer)
    trainer = lib.Trainer(model=model, args=arguments, **made)
    trainer.remove_callback(lib.PrinterCallback)
    trainer.train()
    trainer.save_model(output)


def ours(task: str, text: str, tokenizer: Any) -> dict[str, Any]:
    """A task and a file."""
    data = {"block_size": BLOCK} if task == "causal-lm" else {"max_length": BLOCK, "sample_by": "line"}
    return {"task": task, "train_dataset": text, "processing_class": tokenizer, "data": data}


def recipe(lib: Any, task: str, text: str, tokenizer: Any) -> dict[str, Any]:
    """The example script's way from a file to rows and a collator."""
    from datasets import Dataset

    lines = Path(text).read_text(encoding="utf-8").splitlines(keepends=True)
    if task == "masked-lm":
        lines = [line.rstrip("\n") for line in lines if line.strip()]
        encoded = tokenizer(lines, truncation=True, max_length=BLOCK, return_special_tokens_mask=True)
        rows = Dataset.from_dict(
            {name: encoded[name] for name in ("input_ids", "attention_mask", "special_tokens_mask")}
        )
        return {"train_dataset": rows, "data_collator": lib.DataCollatorForLanguageModeling(tokenizer)}
    flat = list(chain.from_iterable(tokenizer(lines, add_special_tokens=False)["input_ids"]))
    blocks = [flat[start : start + BLOCK] for start in range(0, len(flat) // BLOCK * BLOCK, BLOCK)]
    rows = Dataset.from_dict({"input_ids": blocks, "labels": blocks})
    return {"train_dataset": rows, "data_collator": lib.default_data_collator}


def measure(task: str, folder: str, model: str, text: str) -> float:
    """The perplexity of a saved model on a file, with the tokenizer that it began with."""
    import lt_trainer

    arguments = lt_trainer.TrainingArguments(
        output_dir=model, per_device_eval_batch_size=16, report_to="none", disable_tqdm=True, use_cpu=True
    )
    tokenizer = lt_trainer.AutoTokenizer.from_pretrained(f"{folder}/{task}")
    made = ours(task, text, tokenizer)
    made["eval_dataset"] = made.pop("train_dataset")
    trainer = lt_trainer.Trainer(model=model, args=arguments, **made)
    trainer.remove_callback(lt_trainer.PrinterCallback)
    return math.exp(trainer.evaluate()["eval_loss"])


def main() -> int:
    """Prints the table; 0 where the means agree."""
    options = argparse.ArgumentParser(description="Language models from raw text, by both libraries.")
    options.add_argument("--steps", type=int, default=200, help="optimizer steps")
    options.add_argument("--seeds", default="1,2", help="of dropout, order and masks")
    asked = options.parse_args()
    data = os.environ.get("LT_TRAINER_DATA")
    if data is None:
        options.error("LT_TRAINER_DATA: expected a folder with wikitext2/valid.txt and test.txt, received nothing")
    train_text, test_text = Path(data) / "wikitext2/valid.txt", Path(data) / "wikitext2/test.txt"
    seeds = [int(seed) for seed in asked.seeds.split(",")]
    workers = {library: worker(library) for library in LIBRARIES}
    lines, apart = [], []
    try:
        with tempfile.TemporaryDirectory() as folder:
            prepare(folder, train_text)
            part = Path(folder) / "test.txt"
            part.write_text("".join(test_text.read_text(encoding="utf-8").splitlines(keepends=True)[:EVAL_LINES]))
            for task in TASKS:
                means: dict[str, float] = {}
                for library, pool in workers.items():
                    found: list[float] = []
                    for seed in seeds:
                        output = f"{folder}/{task}-{library}-{seed}"
                        given = (library, task, folder, str(train_text), asked.steps, seed, output)
                        pool.submit(train, *given).result()
                        found.append(workers["lt_trainer"].submit(measure, task, folder, output, str(part)).result())
                        print(f"  {task}, {library}, seed {seed}: {found[-1]:.2f}", file=sys.stderr, flush=True)
                    means[library] = statistics.mean(found)
                    lines.append([task, library, *(f"{value:.2f}" for value in found), f"{means[library]:.2f}"])
                apart.append(max(means.values()) / min(means.values()) - 1)
    finally:
        for pool in workers.values():
            pool.shutdown(cancel_futures=True)
    print(table(["task", "recipe of", *(f"seed {seed}" for seed in seeds), "mean perplexity"], lines))
    worst = f"{100 * max(apart):.1f} % apart (expected at most {100 * LIMIT:g} %)"
    print(f"\nThe means of a task are {worst}. {asked.steps} steps of {BATCH} rows. {circumstances()}")
    return int(max(apart) > LIMIT)


if __name__ == "__main__":
    raise SystemExit(main())
