"""What a stranger's tokenizer.json may ask for: a number of steps, a growth of the text, and patterns that end.

The steps that surround the vocabulary (normalizer, pre-tokenizer, post-processor, decoder) are a small language. Ten
steps that replace each letter by ten make ten billion letters of one, and a pattern such as `(a+)+$` doubles its time
with each letter. Both are found here, when a tokenizer is loaded, and not in the middle of a data set.

What no look at a pattern can tell is bounded by its engine, which gives up after ten million steps of one search.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any

from lt_trainer.tokenization.patterns import problem_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tokenizers import Tokenizer

PARTS = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
MAX_STEPS = 64
"""The longest of the public families has nine."""
MAX_GROWTH = 1024
"""Times that a text may grow in all replacements of a part together; SentencePiece's own table comes to 54."""
MAX_ADDED = 1024
"""Characters or special tokens that a step may add to a text."""
MAX_WORD = 1000
"""Characters of a word that WordPiece takes apart, in cubic time; BERT's has 100."""


def check_bounds(path: Path, backend: Tokenizer) -> None:
    """Refuses a tokenizer whose steps could run, or grow a text, beyond all measure.

    Args:
        path: the file that it was read from, for the message.
        backend: what the library made of it.

    Raises:
        ValueError: it passes a bound (names the file, the part, the value and the bound).
    """
    for name in PARTS:
        part = getattr(backend, name)
        if part is None:
            continue
        problem = problem_of_part(json.loads(part.__getstate__()))
        if problem is not None:
            raise ValueError(f"{path}: the {name} {problem}. Take the file from a source that you trust, or mend it.")
    longest = getattr(backend.model, "max_input_chars_per_word", 0)
    if longest > MAX_WORD:
        raise ValueError(
            f"{path}: max_input_chars_per_word={longest}: expected at most {MAX_WORD}. Lower it in the file; "
            "BERT's is 100."
        )


def problem_of_part(part: dict[str, Any]) -> str | None:
    """What passes a bound in a part of a tokenizer.json, or None."""
    steps = list(_steps(part))
    if len(steps) > MAX_STEPS:
        return f"has {len(steps)} steps: expected at most {MAX_STEPS}"
    growth = 1.0
    for step in steps:
        pattern = step.get("pattern")
        if isinstance(pattern, dict) and "Regex" in pattern:
            problem = problem_of(pattern["Regex"])
            if problem is not None:
                return f"has the pattern {pattern['Regex'][:80]!r}, which {problem}"
        if (added := _added(step)) > MAX_ADDED:
            return f"adds {added} characters or tokens to a text ({step['type']}): expected at most {MAX_ADDED}"
        growth *= max(1.0, _growth(step))
    if growth > MAX_GROWTH:
        return f"can make a text {growth:.3g} times as long: expected at most {MAX_GROWTH} times"
    return None


def _steps(part: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The steps of a part, sequences inside sequences unfolded; a sequence itself counts, lest empty ones nest."""
    todo = [part]
    while todo:
        step = todo.pop()
        yield step
        for name in ("normalizers", "pretokenizers", "processors", "decoders"):
            todo.extend(reversed(step.get(name, [])))


def _growth(step: dict[str, Any]) -> float:
    """By how much the text that a step replaces can grow; Unicode's own forms are bounded and not counted."""
    if step["type"] == "Replace":
        content, pattern = len(step["content"]), step["pattern"]
        shortest = len(pattern["String"]) if "String" in pattern else 1
        return content / shortest if shortest else content + 1  # an empty pattern is found before each character
    if step["type"] == "Precompiled":
        return _longest_entry(step["precompiled_charsmap"])
    return 1.0


def _longest_entry(table: str) -> int:
    """Bytes of the longest text in SentencePiece's table: the length of a trie, the trie, and texts that end in 0."""
    try:
        data = base64.b64decode(table)
    except (binascii.Error, TypeError, ValueError):
        return 0
    texts = data[4 + int.from_bytes(data[:4], "little") :]
    return max(map(len, texts.split(b"\0")), default=0)


def _added(step: dict[str, Any]) -> int:
    if step["type"] == "Prepend":
        return len(step["prepend"])
    if step["type"] == "TemplateProcessing":
        ids = [len(token["ids"]) for token in step["special_tokens"].values()]
        return max(len(step["single"]), len(step["pair"])) * max(ids, default=1)
    return 0
