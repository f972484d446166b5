"""How fast a data module tokenizes raw rows, beside the Rust library's own `Tokenizer.encode_batch` on the same texts.

    python benchmarks/tokenization.py [--rounds 9] [--clock cpu]

The rows are those of SST-2 (LT_TRAINER_DATA) or the built-in text, the tokenizer is that of the pretrained BERT where
its package is installed, else one of the words of the rows; one process, one thread. Of the data module `setup` is
timed, with an empty cache: reading, checking, tokenizing, class numbers, writing, counting. Exits with 1 below `LIMIT`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from typing import TYPE_CHECKING, Any

from common import CLOCKS, MAX_LENGTH, circumstances, find_model, read_text, table

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 0.9  # of the rate of encode_batch
AT_ONCE = 1000  # rows of a call, as the data module has


def alone(backend: Any, texts: list[str]) -> None:
    """The Rust library's calls, whose result nobody reads."""
    backend.enable_truncation(MAX_LENGTH)
    for start in range(0, len(texts), AT_ONCE):
        backend.encode_batch(texts[start : start + AT_ONCE])
    backend.no_truncation()


def set_up(tokenizer: Any, rows: Any) -> None:
    """The data module's way from raw rows to tokenized ones."""
    from lt_trainer.tasks.text_classification import TextClassificationData

    with tempfile.TemporaryDirectory() as cache:
        TextClassificationData(tokenizer, train=rows, max_length=MAX_LENGTH, cache_dir=cache).setup()


def seconds(runs: list[Callable[[], None]], rounds: int, clock: str) -> list[list[float]]:
    """Seconds of each run in each round, in turn; a round before the first warms up."""
    now, found = CLOCKS[clock], [[] for _ in runs]  # type: ignore[var-annotated]
    for number in range(rounds + 1):
        for run, times in zip(runs, found, strict=True):
            start = now()
            run()
            if number:
                times.append(now() - start)
    return found


def main() -> int:
    """Prints the table; 0 where the data module is fast enough."""
    options = argparse.ArgumentParser(description="A data module's tokenization beside encode_batch.")
    options.add_argument("--rounds", type=int, default=9, help="of which the median counts")
    options.add_argument("--clock", choices=CLOCKS, default="wall", help="of the wall or of the processor")
    asked = options.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from datasets import Dataset, disable_progress_bars

    import lt_trainer
    from lt_trainer.data.vocabulary import scratch_tokenizer

    disable_progress_bars()
    name, train, _ = read_text()
    texts, model = [text for text, _ in train], find_model()
    tokenizer = scratch_tokenizer(texts) if model is None else lt_trainer.AutoTokenizer.from_pretrained(str(model))
    rows = Dataset.from_dict({"text": texts, "label": [label for _, label in train]})
    runs = [lambda: alone(tokenizer.backend_tokenizer, texts), lambda: set_up(tokenizer, rows)]
    times = seconds(runs, asked.rounds, asked.clock)
    rates = [len(texts) / statistics.median(each) for each in times]
    share = statistics.median(plain / whole for plain, whole in zip(*times, strict=True))
    lines = [["`encode_batch` alone", f"{rates[0]:,.0f}"], ["`TextClassificationData.setup`", f"{rates[1]:,.0f}"]]
    print(table(["", "rows a second"], lines))
    print(f"\n{share:.2f} of the rate (expected at least {LIMIT}); {len(texts):,} rows of {name}. {circumstances()}")
    return int(share < LIMIT)


if __name__ == "__main__":
    sys.exit(main())
