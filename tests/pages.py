"""What a page of Markdown says can be run: its Python blocks and command lines, and the files that they name."""

from __future__ import annotations

import csv
import json
import re
from typing import TYPE_CHECKING

from tests import writers
from tests.support import write_bert
from tests.tasks import language

if TYPE_CHECKING:
    from pathlib import Path

LABELS = ("first", "second", "undecided")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)


def commands(page: str, name: str) -> list[str]:
    """The command lines of a page that begin with `name` ("": all), without comments; a \\ joins two lines."""
    joined = [block.replace("\\\n", " ") for block in blocks(page, "sh")]
    lines = [line.partition(" #")[0].strip() for block in joined for line in block.splitlines()]
    return [line for line in lines if line and line.startswith(name)]


def write_csv(path: Path, head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *rows])


def write_remarks(folder: Path, names: dict[str, slice]) -> None:
    """CSV files with `text` and `label`, from the built-in remarks."""
    from lt_trainer.data.builtin import preferences

    rows = [(text, LABELS[label]) for text, label in preferences(40)]
    for name, part in names.items():
        write_csv(folder / name, ("text", "label"), rows[part])


def write_files(folder: Path) -> None:
    """The files of rows that the guides name."""
    from lt_trainer.data.builtin import load_builtin

    write_remarks(folder, {"train.csv": slice(0, 24), "dev.csv": slice(24, 36), "new.csv": slice(36, 40)})
    tagged = load_builtin("token-classification")["train"]
    asked = load_builtin("question-answering")["train"]
    pairs = [(row["source"], row["target"]) for row in writers.pairs(24)]
    for number, kind in enumerate(("train", "dev")):
        part = range(12 * number, 12 * number + 12)
        sentences = ["\n".join(map("\t".join, zip(tagged[i]["words"], tagged[i]["tags"], strict=True))) for i in part]
        (folder / f"{kind}.conll").write_text("\n\n".join(sentences) + "\n", encoding="utf-8")
        paragraphs = [
            {"context": row["context"], "qas": [{"id": row["id"], "question": row["question"], "answers": answers}]}
            for row in (asked[i] for i in part)
            for answers in [[{"text": row["answers"]["text"][0], "answer_start": row["answers"]["answer_start"][0]}]]
        ]
        squad = {"version": "1.1", "data": [{"title": "reports", "paragraphs": paragraphs}]}
        (folder / f"squad-{kind}.json").write_text(json.dumps(squad), encoding="utf-8")
        (folder / f"{kind}.txt").write_text("\n".join(language.TEXTS), encoding="utf-8")
    write_csv(folder / "pairs.csv", ("source", "target"), pairs[:16])
    write_csv(folder / "pairs-dev.csv", ("source", "target"), pairs[16:])


def write_models(folder: Path) -> None:
    """Tiny models in folders with the names on the hub that the guides use: a path that exists comes first."""
    for name in ("google-bert/bert-base-uncased", "google-bert/bert-base-cased"):
        write_bert(folder / name, max_position_embeddings=512)
    writers.write_t5(folder / "google-t5/t5-small")
    gpt2 = folder / "openai-community/gpt2"
    language.tiny_gpt2().save_pretrained(gpt2)
    language.byte_tokenizer(model_max_length=64).save_pretrained(gpt2)
