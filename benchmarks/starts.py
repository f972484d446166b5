"""The six tasks of six_tasks.py: their raw rows of the shared data, and the model that every run of a task begins with.

A start has its head, so that all runs begin with the same weights, and no dropout, which two libraries draw
differently. A BERT is the pretrained one of common.PRETRAINED where that package is installed, else a small one of
random weights, as GPT-2 and T5 always are, whose tokenizer has the words of the rows.
"""

from __future__ import annotations

from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from common import find_model, read_sst2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Splits = dict[str, Any]  # "train" and "eval": a Dataset of raw rows, or the name of a text file


class Experiment(NamedTuple):
    """One task.

    Attributes:
        data: what the table calls the rows.
        read: (folder of the data, folder for files, rows to train on, rows to evaluate) -> raw rows.
        start: (folder, raw rows, whether a pretrained model may be taken) -> what the start is; writes it there.
        train_rows: lines, where the rows are those of a text file.
        eval_rows: likewise.
        steps: optimizer steps.
        batch_size: rows of a step.
        learning_rate: the peak; the first tenth of the steps warms up.
        options: arguments of the task's data module.
        metrics: those that each way's own evaluation gives.
        measured: those for which one evaluation measures all models on the same targets, whoever trained them.
    """

    data: str
    read: Callable[[Path, Path, int, int], Splits]
    start: Callable[[str, Splits, bool], str]
    train_rows: int
    eval_rows: int
    steps: int
    batch_size: int
    learning_rate: float
    options: dict[str, Any]
    metrics: tuple[str, ...] = ()
    measured: tuple[str, ...] = ()


# --- rows -------------------------------------------------------------------------------------------------------------


def read_sentences(data: Path, folder: Path, train: int, held_out: int) -> Splits:
    """SST-2: sentences of reviews, 0 or 1."""
    from datasets import Dataset

    files = {"train": ("train", train), "eval": ("dev", held_out)}
    rows = {split: read_sst2(data / f"sst2/{name}.tsv")[:count] for split, (name, count) in files.items()}
    return {
        split: Dataset.from_list([{"text": text, "label": label} for text, label in part])
        for split, part in rows.items()
    }


def read_tags(data: Path, folder: Path, train: int, held_out: int) -> Splits:
    """WNUT-17: words of tweets with entities of six types."""
    from lt_trainer.data.readers import read_rows

    return {
        split: first(read_rows(data / f"wnut17/{name}.conll"), count)
        for split, name, count in (("train", "train", train), ("eval", "dev", held_out))
    }


def read_questions(data: Path, folder: Path, train: int, held_out: int) -> Splits:
    """XQuAD: questions on English contexts; those of the last sixth of the contexts are held out."""
    from lt_trainer.data.readers import read_rows

    rows = read_rows(data / "xquad/xquad.en.json")
    contexts = list(dict.fromkeys(rows["context"]))
    kept_back = set(contexts[-max(1, len(contexts) // 6) :])
    chosen = [number for number, context in enumerate(rows["context"]) if context in kept_back]
    others = sorted(set(range(len(rows))) - set(chosen))
    return {"train": first(rows.select(others), train), "eval": first(rows.select(chosen), held_out)}


def read_translations(data: Path, folder: Path, train: int, held_out: int) -> Splits:
    """Multi30k: English sentences and their German translations."""
    from datasets import Dataset

    def part(name: str, count: int) -> Dataset:
        sides = {side: (data / f"multi30k/{name}.{end}") for side, end in (("source", "en"), ("target", "de"))}
        return Dataset.from_dict({side: lines_of(path)[:count] for side, path in sides.items()})

    return {"train": part("train", train), "eval": part("val", held_out)}


def read_texts(data: Path, folder: Path, train: int, held_out: int) -> Splits:
    """WikiText-2: two text files, the first lines of the published ones for validation and test."""
    rows = {}
    for split, name, count in (("train", "valid", train), ("eval", "test", held_out)):
        path = folder / f"{split}.txt"
        with (data / f"wikitext2/{name}.txt").open(encoding="utf-8") as lines:
            path.write_text("".join(islice(lines, count)), encoding="utf-8")
        rows[split] = str(path)
    return rows


def first(rows: Any, count: int) -> Any:
    """The first rows."""
    return rows.select(range(min(count, len(rows))))


def lines_of(path: str | Path) -> list[str]:
    """Without their ends."""
    return Path(path).read_text(encoding="utf-8").splitlines()


# --- starts -----------------------------------------------------------------------------------------------------------


def start_bert(head: str, texts: Callable[[Any], Iterable[str]], folder: str, rows: Splits, pretrained: bool) -> str:
    """A BERT with a head: pretrained with a new head, or of random weights and the words of the texts."""
    import torch

    import lt_trainer

    source = find_model() if pretrained else None
    settings: dict[str, Any] = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    if names := class_names(rows):
        settings |= {"num_labels": len(names), "id2label": dict(enumerate(names))}
        settings["label2id"] = {name: number for number, name in enumerate(names)}
    auto = getattr(lt_trainer, f"AutoModelFor{head}")
    torch.manual_seed(0)
    if source is not None:
        auto.from_pretrained(str(source), **settings).save_pretrained(folder)
        lt_trainer.AutoTokenizer.from_pretrained(str(source)).save_pretrained(folder)
        return "pretrained BERT, 6 layers of width 384"
    from lt_trainer.data.vocabulary import scratch_tokenizer
    from lt_trainer.models.bert import BertConfig
    from lt_trainer.tasks.start import SMALL

    tokenizer = scratch_tokenizer(texts(rows["train"]), model_max_length=WINDOW)
    settings = SMALL | {"max_position_embeddings": WINDOW, "vocab_size": len(tokenizer)} | settings
    auto.from_config(BertConfig(**settings)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return "random BERT, 2 layers of width 128"


def class_names(rows: Splits) -> list[str]:
    """The tags of all rows, sorted; of numbers `LABEL_0` and so on; none where rows have no classes."""
    columns = rows["train"].column_names if not isinstance(rows["train"], str) else []
    if "tags" in columns:
        return sorted({tag for part in rows.values() for tags in part["tags"] for tag in tags})
    return [f"LABEL_{number}" for number in range(1 + max(rows["train"]["label"]))] if "label" in columns else []


def start_t5(folder: str, rows: Splits, pretrained: bool) -> str:
    """A small T5 and a tokenizer with the words of both sides."""
    import torch

    import lt_trainer
    from lt_trainer.data.vocabulary import sentence_tokenizer
    from lt_trainer.tasks.seq2seq import small_t5

    tokenizer = sentence_tokenizer([*rows["train"]["source"], *rows["train"]["target"]], size=6000)
    torch.manual_seed(0)
    lt_trainer.AutoModelForSeq2SeqLM.from_config(small_t5(vocab_size=len(tokenizer))).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return "random T5, 2 layers of width 128"


def start_gpt2(folder: str, rows: Splits, pretrained: bool) -> str:
    """A small GPT-2 and byte pairs of the text."""
    import torch

    import lt_trainer

    tokenizer = byte_tokenizer(lines_of(rows["train"]), size=4000)
    sizes = {"n_embd": 128, "n_layer": 2, "n_head": 4, "n_positions": BLOCK, "bos_token_id": 0, "eos_token_id": 0}
    dropout = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    torch.manual_seed(0)
    config = lt_trainer.AutoConfig.for_model("gpt2", vocab_size=len(tokenizer), **sizes, **dropout)
    lt_trainer.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return "random GPT-2, 2 layers of width 128"


def byte_tokenizer(lines: list[str], size: int) -> Any:
    """A tokenizer of GPT-2's kind."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    from lt_trainer.tokenization.tokenizer import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(lines, trainer)
    return PreTrainedTokenizerFast(backend, eos_token="<|endoftext|>", bos_token="<|endoftext|>")


# --- the six ----------------------------------------------------------------------------------------------------------

BLOCK, SIDE, WINDOW = 128, 64, 192  # tokens of a row of text, of either side of a translation, of question and context

EXPERIMENTS = {
    "text-classification": Experiment(
        "SST-2",
        read_sentences,
        partial(start_bert, "SequenceClassification", lambda rows: rows["text"]),
        **{"train_rows": 2000, "eval_rows": 871, "steps": 125, "batch_size": 16, "learning_rate": 5e-5},
        options={"max_length": BLOCK},
        metrics=("accuracy",),
    ),
    "token-classification": Experiment(
        "WNUT-17",
        read_tags,
        partial(start_bert, "TokenClassification", lambda rows: [" ".join(words) for words in rows["words"]]),
        **{"train_rows": 3394, "eval_rows": 500, "steps": 150, "batch_size": 16, "learning_rate": 2e-4},
        options={"max_length": BLOCK},
        metrics=("f1",),
    ),
    "question-answering": Experiment(
        "XQuAD (English)",
        read_questions,
        partial(start_bert, "QuestionAnswering", lambda rows: [*rows["context"], *rows["question"]]),
        **{"train_rows": 1000, "eval_rows": 100, "steps": 50, "batch_size": 8, "learning_rate": 3e-4},
        options={"max_length": WINDOW, "doc_stride": 64},
        metrics=("exact_match", "f1"),
    ),
    "seq2seq": Experiment(
        "Multi30k (English to German)",
        read_translations,
        start_t5,
        **{"train_rows": 10_000, "eval_rows": 200, "steps": 500, "batch_size": 16, "learning_rate": 3e-3},
        options={"max_source_length": SIDE, "max_target_length": SIDE},
        metrics=("bleu", "chrf"),
        measured=("loss",),
    ),
    "causal-lm": Experiment(
        "WikiText-2",
        read_texts,
        start_gpt2,
        **{"train_rows": 3760, "eval_rows": 1000, "steps": 300, "batch_size": 8, "learning_rate": 2e-3},
        options={"block_size": BLOCK},
        measured=("perplexity",),
    ),
    "masked-lm": Experiment(
        "WikiText-2",
        read_texts,
        partial(start_bert, "MaskedLM", lines_of),
        **{"train_rows": 3760, "eval_rows": 300, "steps": 100, "batch_size": 8, "learning_rate": 2e-4},
        options={"max_length": BLOCK, "sample_by": "line"},
        measured=("perplexity",),
    ),
}
