"""How `transformers` trains each of the six tasks: what its example scripts do between raw rows and metrics.

A recipe takes (folder of the start, raw rows, arguments of a run, options of the task's data module) and returns a
trainer and its evaluation. Dimension letters: B rows, T padded length.
"""

from __future__ import annotations

import collections
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from starts import lines_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from starts import Splits

    Made = tuple[Any, Callable[[], dict[str, float]]]
    Options = dict[str, Any]

N_BEST, MAX_ANSWER = 20, 30  # positions that are looked at for an answer's ends; its most tokens


def text_classification(model: str, rows: Splits, arguments: dict[str, Any], options: Options) -> Made:
    """As run_glue.py."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(model)

    def encode(part: Any) -> Any:
        return {**tokenizer(part["text"], truncation=True, **options), "labels": part["label"]}

    def score(prediction: Any) -> dict[str, float]:
        return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}

    trainer = transformers.Trainer(
        transformers.AutoModelForSequenceClassification.from_pretrained(model),
        transformers.TrainingArguments(**arguments),
        data_collator=transformers.DataCollatorWithPadding(tokenizer),
        compute_metrics=score,
        **_datasets(rows, encode),
    )
    return trainer, trainer.evaluate


def token_classification(model: str, rows: Splits, arguments: dict[str, Any], options: Options) -> Made:
    """As run_ner.py: the first token of a word has its label, seqeval counts."""
    import transformers
    from seqeval.metrics import f1_score

    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    network = transformers.AutoModelForTokenClassification.from_pretrained(model)
    names, numbers = network.config.id2label, network.config.label2id

    def encode(part: Any) -> Any:
        encoded = tokenizer(part["words"], is_split_into_words=True, truncation=True, **options)
        encoded["labels"] = [
            [
                -100 if word is None or word == before else numbers[tags[word]]
                for word, before in zip(words, [None, *words], strict=False)
            ]
            for words, tags in ((encoded.word_ids(i), tags) for i, tags in enumerate(part["tags"]))
        ]
        return encoded

    def score(prediction: Any) -> dict[str, float]:
        gold_BT, best_BT = prediction.label_ids, prediction.predictions.argmax(-1)
        real = [gold_T >= 0 for gold_T in gold_BT]
        gold, best = ([[names[y] for y in row[k]] for row, k in zip(x, real, strict=True)] for x in (gold_BT, best_BT))
        return {"f1": float(f1_score(gold, best))}

    trainer = transformers.Trainer(
        network,
        transformers.TrainingArguments(**arguments),
        data_collator=transformers.DataCollatorForTokenClassification(tokenizer),
        compute_metrics=score,
        **_datasets(rows, encode),
    )
    return trainer, trainer.evaluate


def question_answering(model: str, rows: Splits, arguments: dict[str, Any], options: Options) -> Made:
    """As run_qa.py: windows with a stride, the best span of all windows, SQuAD's metric."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    features = _datasets(rows, lambda part: _windows(tokenizer, part, options["max_length"], options["doc_stride"]))
    held_out = features["eval_dataset"]
    trainer = transformers.Trainer(
        transformers.AutoModelForQuestionAnswering.from_pretrained(model),
        transformers.TrainingArguments(**arguments),
        train_dataset=features["train_dataset"].remove_columns(["example", "offsets"]),
        data_collator=transformers.DataCollatorWithPadding(tokenizer),
    )

    def evaluate() -> dict[str, float]:
        unread = ["example", "offsets", "start_positions", "end_positions"]
        scores = trainer.predict(held_out.remove_columns(unread)).predictions[:2]
        return _squad(rows["eval"], held_out, *scores)

    return trainer, evaluate


def _windows(tokenizer: Any, part: Any, max_length: int, stride: int) -> Any:
    """Windows over contexts, and the tokens of the first answer, or 0 where it is not in a window."""
    encoded = tokenizer(
        [question.lstrip() for question in part["question"]],
        part["context"],
        truncation="only_second",
        max_length=max_length,
        stride=stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    examples, offsets = encoded.pop("overflow_to_sample_mapping"), encoded.pop("offset_mapping")
    made: dict[str, list[Any]] = collections.defaultdict(list)
    for i, (example, here) in enumerate(zip(examples, offsets, strict=True)):
        answers, inside = part["answers"][example], [k for k, s in enumerate(encoded.sequence_ids(i)) if s == 1]
        first = answers["answer_start"][0]
        last, start, end = first + len(answers["text"][0]), 0, 0
        if here[inside[0]][0] <= first and here[inside[-1]][1] >= last:
            start = max(k for k in inside if here[k][0] <= first)
            end = min(k for k in inside if here[k][1] >= last)
        made["start_positions"].append(start)
        made["end_positions"].append(end)
        made["example"].append(part["id"][example])
        made["offsets"].append([list(span) if k in inside else [-1, -1] for k, span in enumerate(here)])
    return {**encoded, **made}


def _squad(rows: Any, windows: Any, starts_BT: Any, ends_BT: Any) -> dict[str, float]:
    """Exact match and F1 of the best spans."""
    from torchmetrics.functional.text import squad

    best: dict[str, tuple[float, str]] = collections.defaultdict(lambda: (-np.inf, ""))
    contexts = dict(zip(rows["id"], rows["context"], strict=True))
    for window, start, end in zip(windows, starts_BT, ends_BT, strict=True):
        name, offsets = window["example"], window["offsets"]
        for s in np.argsort(start)[-1 : -N_BEST - 1 : -1].tolist():
            for e in np.argsort(end)[-1 : -N_BEST - 1 : -1].tolist():
                valid = max(s, e) < len(offsets) and offsets[s][0] >= 0 and offsets[e][0] >= 0
                if valid and s <= e < s + MAX_ANSWER and start[s] + end[e] > best[name][0]:
                    best[name] = start[s] + end[e], contexts[name][offsets[s][0] : offsets[e][1]]
    found = squad(
        [{"id": name, "prediction_text": best[name][1]} for name in contexts],
        [{"id": row["id"], "answers": row["answers"]} for row in rows],
    )
    return {name: float(value) for name, value in found.items()}


def seq2seq(model: str, rows: Splits, arguments: dict[str, Any], options: Options) -> Made:
    """As run_translation.py: targets by `text_target`, written greedily, scored by sacreBLEU."""
    import sacrebleu
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    network = transformers.AutoModelForSeq2SeqLM.from_pretrained(model)

    def encode(part: Any) -> Any:
        encoded = tokenizer(part["source"], truncation=True, max_length=options["max_source_length"])
        targets = tokenizer(text_target=part["target"], truncation=True, max_length=options["max_target_length"])
        return {**encoded, "labels": targets["input_ids"]}

    def texts(ids_BT: Any) -> list[str]:
        ids_BT = np.where(ids_BT == -100, tokenizer.pad_token_id, ids_BT)
        return [text.strip() for text in tokenizer.batch_decode(ids_BT, skip_special_tokens=True)]

    def score(prediction: Any) -> dict[str, float]:
        written, wanted = texts(prediction.predictions), [texts(prediction.label_ids)]
        return {
            "bleu": sacrebleu.corpus_bleu(written, wanted).score,
            "chrf": sacrebleu.corpus_chrf(written, wanted).score,
        }

    generation = {"predict_with_generate": True, "generation_max_length": options["max_target_length"] + 1}
    trainer = transformers.Seq2SeqTrainer(
        network,
        transformers.Seq2SeqTrainingArguments(**arguments, **generation),
        data_collator=transformers.DataCollatorForSeq2Seq(tokenizer, model=network),
        compute_metrics=score,
        **_datasets(rows, encode),
    )
    return trainer, trainer.evaluate


def causal_lm(model: str, rows: Splits, arguments: dict[str, Any], options: Options) -> Made:
    """As run_clm.py: the lines of a file behind each other, cut into blocks."""
    import transformers
    from datasets import Dataset

    tokenizer, size = transformers.AutoTokenizer.from_pretrained(model), options["block_size"]
    flat = list(chain.from_iterable(tokenizer([f"{line}\n" for line in lines_of(rows["train"])])["input_ids"]))
    blocks = [flat[start : start + size] for start in range(0, len(flat) // size * size, size)]
    trainer = transformers.Trainer(
        transformers.AutoModelForCausalLM.from_pretrained(model),
        transformers.TrainingArguments(**arguments),
        train_dataset=Dataset.from_dict({"input_ids": blocks, "labels": blocks}),
        data_collator=transformers.default_data_collator,
    )
    return trainer, dict


def masked_lm(model: str, rows: Splits, arguments: dict[str, Any], options: Options) -> Made:
    """As run_mlm.py --line_by_line: the lines that are not empty, cut off, masked by the collator."""
    import transformers
    from datasets import Dataset

    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    lines = [line for line in lines_of(rows["train"]) if line.strip()]
    encoded = tokenizer(
        lines, truncation=True, max_length=options["max_length"], padding=False, return_special_tokens_mask=True
    )
    names = ("input_ids", "attention_mask", "special_tokens_mask")
    trainer = transformers.Trainer(
        transformers.AutoModelForMaskedLM.from_pretrained(model),
        transformers.TrainingArguments(**arguments),
        train_dataset=Dataset.from_dict({name: encoded[name] for name in names}),
        data_collator=transformers.DataCollatorForLanguageModeling(tokenizer),
    )
    return trainer, dict


def _datasets(rows: Splits, encode: Callable[[Any], Any]) -> dict[str, Any]:
    """The arguments of a trainer for tokenized rows."""
    return {
        f"{split}_dataset": part.map(encode, batched=True, remove_columns=part.column_names)
        for split, part in rows.items()
    }


RECIPES = {
    "text-classification": text_classification,
    "token-classification": token_classification,
    "question-answering": question_answering,
    "seq2seq": seq2seq,
    "causal-lm": causal_lm,
    "masked-lm": masked_lm,
}
