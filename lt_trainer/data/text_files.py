"""Files that are not tables: plain text, sentences of words with tags (CoNLL), questions with contexts (SQuAD)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

Row = dict[str, Any]
NumberedRows = Iterator[tuple[int, Row]]  # with the line that a row begins in, from 1


def lines_of(path: Path) -> Iterator[str]:
    """The lines of a file with their ends.

    Raises:
        ValueError: bytes that are not UTF-8 (names file, line and column).
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                found = line[error.start : error.start + 1]
                raise ValueError(
                    f"{path}:{number}: byte {found!r} at column {error.start + 1} is not UTF-8: save the file as UTF-8"
                ) from error


def read_text(path: Path) -> NumberedRows:
    """A row with `text` for each line that is not blank."""
    for number, line in enumerate(lines_of(path), 1):
        if line.strip():
            yield number, {"text": line.rstrip("\r\n")}


def read_conll(path: Path) -> NumberedRows:
    """A row with `words` and `tags` for each sentence.

    A line is a word, the first column, and its tag, the last; a line without any ends a sentence. Columns are parted
    by tabs where the line has one, else by white space. Lines of `-DOCSTART-` are passed over, and those of comments
    (CoNLL-U: a # and no tab in a file with tabs).

    Raises:
        ValueError: a line with another number of columns than the first (names file and line).
    """
    words: list[str] = []
    tags: list[str] = []
    start = width = 0
    tabs = False
    for number, line in enumerate(lines_of(path), 1):
        if not line.strip("\ufeff \t\r\n") or line.startswith("-DOCSTART-"):  # WNUT-17 has a mark of its own in a line
            if words:
                yield start, {"words": words, "tags": tags}
            words, tags = [], []
            continue
        if line.startswith("# ") and "\t" not in line and (tabs or not width):
            continue
        columns = line.rstrip("\r\n").split("\t") if "\t" in line else line.split()
        tabs, width = tabs or "\t" in line, width or len(columns)
        if len(columns) != width or width < 2:
            raise ValueError(
                f"{path}:{number}: expected {max(width, 2)} columns, a word first and its tag last, received "
                f"{columns}: write a word a line, the tag behind a tab, and an empty line after each sentence"
            )
        start = start if words else number
        words.append(columns[0])
        tags.append(columns[-1])
    if words:
        yield start, {"words": words, "tags": tags}


def questions(path: Path, articles: list[Any]) -> NumberedRows:
    """A row with `id`, `title`, `context`, `question` and `answers` for each question of a SQuAD file (v1 or v2).

    Raises:
        ValueError: a part that the format asks for is not there (names the question by its number).
    """
    number = 0
    for article in articles:
        for paragraph in _part(path, number, article, "paragraphs"):
            context = _part(path, number, paragraph, "context")
            for question in _part(path, number, paragraph, "qas"):
                number += 1
                answers = [] if question.get("is_impossible") else _part(path, number, question, "answers")
                yield (
                    number,
                    {
                        "id": str(question.get("id", number)),
                        "title": article.get("title", ""),
                        "context": context,
                        "question": _part(path, number, question, "question"),
                        "answers": {
                            "text": [_part(path, number, answer, "text") for answer in answers],
                            "answer_start": [_part(path, number, answer, "answer_start") for answer in answers],
                        },
                    },
                )


def _part(path: Path, number: int, owner: Any, name: str) -> Any:
    if not isinstance(owner, dict) or name not in owner:
        received = sorted(owner) if isinstance(owner, dict) else owner
        raise ValueError(
            f"{path}, question {number}: expected {name!r}, as SQuAD's files have it, received {received!r:.80}: "
            "correct the file, or give rows with context, question and answers"
        )
    return owner[name]
