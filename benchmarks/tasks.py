"""Each task from raw rows, beside what `transformers` reaches with its example recipe: same start, steps, seed.

    LT_TRAINER_DATA=folder python benchmarks/tasks.py [--tasks token-classification,...] [--steps 300]

Both libraries start from one folder: a BERT of 2 layers of width 128 with random weights and dropout 0.1, whose words
are those of the data. What is compared is where they arrive; a small model from scratch does not arrive far. Here a
task takes its rows raw; there tokenization, alignment or windows, and metrics are those of the example scripts
(run_ner.py, run_qa.py). A recipe is a function of this file for each side, and a row of RECIPES.
"""

from __future__ import annotations

import argparse
import collections
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from common import circumstances, table, worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from datasets import Dataset

Splits = dict[str, "Dataset"]
MAX_LENGTH, DOC_STRIDE = 192, 64  # tokens of a row; of a context's windows those they share
N_BEST, MAX_ANSWER = 20, 30


class Recipe(NamedTuple):
    """A task's rows, its texts, and how `transformers` trains on them.

    Attributes:
        data: what the table calls the rows.
        read: folder -> raw rows by split.
        texts: raw rows -> texts that the words of the model are taken from.
        theirs: (folder of the model, raw rows, arguments of a run) -> metrics.
        options: arguments of the task's data module.
        metrics: those that the table shows.
    """

    data: str
    read: Callable[[Path], Splits]
    texts: Callable[[Dataset], list[str]]
    theirs: Callable[[str, Splits, dict[str, Any]], dict[str, float]]
    options: dict[str, Any]
    metrics: tuple[str, ...]


# --- rows -------------------------------------------------------------------------------------------------------------


def read_wnut(folder: Path) -> Splits:
    """Tweets with entities of six types, CoNLL."""
    from lt_trainer.data.readers import read_rows

    return {name: read_rows(folder / f"wnut17/{file}.conll") for name, file in (("train", "train"), ("eval", "dev"))}


def read_xquad(folder: Path) -> Splits:
    """English questions of XQuAD; those of the last 40 contexts are evaluated on."""
    from lt_trainer.data.readers import read_rows

    rows = read_rows(folder / "xquad/xquad.en.json")
    held_out = set(list(dict.fromkeys(rows["context"]))[-40:])
    chosen = [number for number, context in enumerate(rows["context"]) if context in held_out]
    others = sorted(set(range(len(rows))) - set(chosen))
    return {"train": rows.select(others), "eval": rows.select(chosen)}


# --- here -------------------------------------------------------------------------------------------------------------


def ours(task: str, model: str, rows: Splits, arguments: dict[str, Any]) -> dict[str, float]:
    """Raw rows in, the task's metrics out."""
    import torch

    from lt_trainer import Trainer, TrainingArguments
    from lt_trainer.callbacks.progress import PrinterCallback

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as output_dir:
        trainer = Trainer(
            task=task,
            model=model,
            args=TrainingArguments(output_dir=output_dir, **arguments),
            train_dataset=rows["train"],
            eval_dataset=rows["eval"],
            data=RECIPES[task].options,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        return trainer.evaluate()


# --- there ------------------------------------------------------------------------------------------------------------


def theirs_ner(model: str, rows: Splits, arguments: dict[str, Any]) -> dict[str, float]:
    """As run_ner.py: the first token of a word has its label, seqeval counts."""
    import transformers
    from seqeval.metrics import f1_score

    names = sorted({tag for part in rows.values() for tags in part["tags"] for tag in tags})
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)

    def encode(part: Any) -> Any:
        encoded = tokenizer(part["words"], is_split_into_words=True, truncation=True, max_length=MAX_LENGTH)
        encoded["labels"] = [
            [
                -100 if word is None or word == before else names.index(tags[word])
                for word, before in zip(words, [None, *words], strict=False)
            ]
            for words, tags in ((encoded.word_ids(i), tags) for i, tags in enumerate(part["tags"]))
        ]
        return encoded

    def score(prediction: Any) -> dict[str, float]:
        gold_BT, best_BT = prediction.label_ids, prediction.predictions.argmax(-1)
        real = [gold_T >= 0 for gold_T in gold_BT]
        gold, best = ([[names[y] for y in row[k]] for row, k in zip(x, real, strict=True)] for x in (gold_BT, best_BT))
        return {"f1": f1_score(gold, best)}

    features = {name: part.map(encode, batched=True, remove_columns=part.column_names) for name, part in rows.items()}
    labels = {"num_labels": len(names), "id2label": dict(enumerate(names))}
    head = transformers.AutoModelForTokenClassification
    return _train(
        lambda: head.from_pretrained(model, **labels),
        features,
        arguments,
        data_collator=transformers.DataCollatorForTokenClassification(tokenizer),
        compute_metrics=score,
    ).evaluate()


def theirs_qa(model: str, rows: Splits, arguments: dict[str, Any]) -> dict[str, float]:
    """As run_qa.py: windows with a stride, the best span of all windows, SQuAD's metric."""
    import transformers
    from torchmetrics.functional.text import squad

    tokenizer = transformers.AutoTokenizer.from_pretrained(model)

    def encode(part: Any) -> Any:
        encoded = tokenizer(
            [question.lstrip() for question in part["question"]],
            part["context"],
            truncation="only_second",
            max_length=MAX_LENGTH,
            stride=DOC_STRIDE,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        examples, offsets = encoded.pop("overflow_to_sample_mapping"), encoded.pop("offset_mapping")
        encoded["start_positions"], encoded["end_positions"], encoded["example"], encoded["offsets"] = [], [], [], []
        for i, example in enumerate(examples):
            answers, inside = part["answers"][example], [k for k, s in enumerate(encoded.sequence_ids(i)) if s == 1]
            first = answers["answer_start"][0]
            last, here = first + len(answers["text"][0]), offsets[i]
            start = end = 0
            if here[inside[0]][0] <= first and here[inside[-1]][1] >= last:
                start = max(k for k in inside if here[k][0] <= first)
                end = min(k for k in inside if here[k][1] >= last)
            encoded["start_positions"].append(start)
            encoded["end_positions"].append(end)
            encoded["example"].append(part["id"][example])
            encoded["offsets"].append([list(span) if k in inside else [-1, -1] for k, span in enumerate(here)])
        return encoded

    features = {name: part.map(encode, batched=True, remove_columns=part.column_names) for name, part in rows.items()}
    head = transformers.AutoModelForQuestionAnswering
    trainer = _train(
        lambda: head.from_pretrained(model),
        {"train": features["train"].remove_columns(["example", "offsets"]), "eval": None},
        arguments,
        data_collator=transformers.DataCollatorWithPadding(tokenizer),
    )
    unread = ["example", "offsets", "start_positions", "end_positions"]
    scores = trainer.predict(features["eval"].remove_columns(unread))
    best: dict[str, tuple[float, str]] = collections.defaultdict(lambda: (-np.inf, ""))
    contexts = dict(zip(rows["eval"]["id"], rows["eval"]["context"], strict=True))
    for feature, start, end in zip(features["eval"], *scores.predictions[:2], strict=True):
        name, offsets = feature["example"], feature["offsets"]
        for s in np.argsort(start)[-1 : -N_BEST - 1 : -1].tolist():
            for e in np.argsort(end)[-1 : -N_BEST - 1 : -1].tolist():
                valid = max(s, e) < len(offsets) and offsets[s][0] >= 0 and offsets[e][0] >= 0
                if valid and s <= e < s + MAX_ANSWER and start[s] + end[e] > best[name][0]:
                    best[name] = start[s] + end[e], contexts[name][offsets[s][0] : offsets[e][1]]
    found = squad(
        [{"id": name, "prediction_text": best[name][1]} for name in contexts],
        [{"id": row["id"], "answers": row["answers"]} for row in rows["eval"]],
    )
    return {f"eval_{name}": float(value) for name, value in found.items()}


def _train(make: Callable[[], Any], features: dict[str, Any], arguments: dict[str, Any], **options: Any) -> Any:
    import torch
    import transformers

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as output_dir:
        transformers.set_seed(arguments["seed"])
        trainer = transformers.Trainer(
            make(),
            transformers.TrainingArguments(output_dir=output_dir, **arguments),
            train_dataset=features["train"],
            eval_dataset=features["eval"],
            **options,
        )
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train()
    return trainer


RECIPES = {
    "token-classification": Recipe(
        "WNUT-17",
        read_wnut,
        lambda rows: [" ".join(words) for words in rows["words"]],
        theirs_ner,
        {"max_length": MAX_LENGTH},
        ("f1",),
    ),
    "question-answering": Recipe(
        "XQuAD (en)",
        read_xquad,
        lambda rows: [*rows["context"], *rows["question"]],
        theirs_qa,
        {"max_length": MAX_LENGTH, "doc_stride": DOC_STRIDE},
        ("exact_match", "f1"),
    ),
}


# --- both -------------------------------------------------------------------------------------------------------------


def start(folder: str, texts: list[str]) -> None:
    """Writes the model that both begin with."""
    import torch

    from lt_trainer import AutoModel, AutoTokenizer
    from lt_trainer.data.vocabulary import word_vocabulary, write_bert_vocabulary
    from lt_trainer.models.bert import BertConfig

    Path(folder).mkdir()
    vocabulary = word_vocabulary(texts, size=8000)
    write_bert_vocabulary(folder, vocabulary, model_max_length=256)
    torch.manual_seed(0)
    sizes = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 512}
    config = BertConfig(vocab_size=len(vocabulary), max_position_embeddings=256, initializer_range=0.05, **sizes)
    AutoModel.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(folder).save_pretrained(folder)


def run(side: str, task: str, model: str, data: str, arguments: dict[str, Any]) -> dict[str, float]:
    """One run of either library, in a process of its own."""
    rows = RECIPES[task].read(Path(data))
    return ours(task, model, rows, arguments) if side == "ours" else RECIPES[task].theirs(model, rows, arguments)


def main() -> int:
    """Prints the table."""
    options = argparse.ArgumentParser(description="Each task from raw rows, beside the example recipe of transformers.")
    options.add_argument("--tasks", default=",".join(RECIPES), help=f"some of {', '.join(RECIPES)}")
    options.add_argument("--steps", type=int, default=300, help="optimizer steps of a run")
    options.add_argument("--seed", type=int, default=42, help="of heads, dropout and order")
    options.add_argument("--learning_rate", type=float, default=1e-3, help="peak of a linear schedule")
    asked = options.parse_args()
    data = os.environ.get("LT_TRAINER_DATA")
    if data is None:
        options.error("LT_TRAINER_DATA: expected a folder with wnut17 and xquad, received nothing")
    arguments = {
        **{"max_steps": asked.steps, "learning_rate": asked.learning_rate, "seed": asked.seed},
        **{"per_device_train_batch_size": 16, "per_device_eval_batch_size": 32, "warmup_steps": asked.steps // 10},
        **{"save_strategy": "no", "report_to": "none", "disable_tqdm": True, "use_cpu": True},
    }
    workers = {"ours": worker("lt_trainer"), "theirs": worker("transformers")}
    lines = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            for task in asked.tasks.split(","):
                recipe, model = RECIPES[task], f"{folder}/{task}"
                start(model, recipe.texts(recipe.read(Path(data))["train"]))
                runs = {side: pool.submit(run, side, task, model, data, arguments) for side, pool in workers.items()}
                found = {side: done.result() for side, done in runs.items()}
                print(f"  {task}: {found}", file=sys.stderr, flush=True)
                for metric in recipe.metrics:
                    values = [f"{found[side][f'eval_{metric}']:.4g}" for side in ("theirs", "ours")]
                    lines.append([task, recipe.data, metric, *values])
    finally:
        for pool in workers.values():
            pool.shutdown(cancel_futures=True)
    print(table(["task", "data", "metric", "`transformers`, example recipe", "lt_trainer, raw rows"], lines))
    print(f"\n{asked.steps} steps of 16 rows. {circumstances()}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
