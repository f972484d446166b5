"""Continuing prompts, greedy and by four beams: the same tokens as `transformers.generate`, and how fast.

    python benchmarks/generation.py [--prompts 200] [--threads 1]

A GPT-2 and a T5 of four layers of width 256 with random weights and 32 new tokens a prompt. Prompts of 4 to 60 tokens
come sorted by length in batches of 16, to both libraries alike; rows end where they meet one of a few end tokens.
Exits with 1 where a token differs or we are slower.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import time
from typing import Any, NamedTuple

from common import LIBRARIES, circumstances, table, worker

VOCABULARY, PAD, BATCH, NEW = 8000, 0, 16, 32
ENDS = [1, *range(7, VOCABULARY, 160)]  # random weights say each about as often, so that rows end at all lengths
HEADS = {"gpt2": "AutoModelForCausalLM", "t5": "AutoModelForSeq2SeqLM"}
BEAMS = (1, 4)


class Written(NamedTuple):
    """What one library wrote: tokens of each prompt up to its end, and seconds of the processor."""

    tokens: list[list[int]]
    seconds: float


def prepare(folder: str) -> None:
    """Writes a model of each family; embeddings are drawn wide, so that no two words score alike."""
    import torch

    import lt_trainer

    sizes = {
        "gpt2": {"n_embd": 256, "n_layer": 4, "n_head": 4, "n_positions": 128},
        "t5": {"d_model": 256, "d_kv": 64, "d_ff": 1024, "num_layers": 4, "num_heads": 4, "decoder_start_token_id": 0},
    }
    for family, head in HEADS.items():
        torch.manual_seed(0)
        config = lt_trainer.AutoConfig.for_model(family, vocab_size=VOCABULARY, pad_token_id=PAD, **sizes[family])
        model = getattr(lt_trainer, head).from_config(config)
        with torch.no_grad():
            model.get_input_embeddings().weight.normal_(0, 1)
        model.save_pretrained(f"{folder}/{family}")


def prompts(count: int) -> list[list[int]]:
    """Random tokens, the shortest prompt first."""
    import torch

    draw = torch.Generator().manual_seed(1)
    lengths = torch.randint(4, 61, (count,), generator=draw).sort().values.tolist()
    return [torch.randint(10, VOCABULARY, (length,), generator=draw).tolist() for length in lengths]


def write(library: str, folder: str, family: str, beams: int, count: int, threads: int) -> Written:
    """Continues every prompt with one library."""
    import torch

    torch.set_num_threads(threads)
    model = getattr(importlib.import_module(library), HEADS[family]).from_pretrained(f"{folder}/{family}").eval()
    rows, found = prompts(count), []
    settings: dict[str, Any] = {"max_new_tokens": NEW, "num_beams": beams, "do_sample": False, "eos_token_id": ENDS}
    start = time.process_time()
    for first in range(0, count, BATCH):
        part = rows[first : first + BATCH]
        width = max(map(len, part))
        ids = torch.tensor([[PAD] * (width - len(row)) + row for row in part])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in part])
        out = model.generate(input_ids=ids, attention_mask=mask, pad_token_id=PAD, **settings)
        found += [ended(row) for row in out[:, width if family == "gpt2" else 1 :].tolist()]
    return Written(found, time.process_time() - start)


def ended(row: list[int]) -> list[int]:
    """Tokens up to the first end token; what stands behind it fills the batch up."""
    return next((row[: i + 1] for i, token in enumerate(row) if token in ENDS), row)


def main() -> int:
    """Prints the table; 0 where all tokens are equal and we are as fast."""
    options = argparse.ArgumentParser(description="generate, beside transformers.")
    options.add_argument("--prompts", type=int, default=200)
    options.add_argument("--threads", type=int, default=1)
    asked = options.parse_args()
    lines, short = [], []
    workers = {library: worker(library) for library in LIBRARIES}
    try:
        with tempfile.TemporaryDirectory() as folder:
            workers["lt_trainer"].submit(prepare, folder).result()
            for family in HEADS:
                for beams in BEAMS:
                    given = (folder, family, beams, asked.prompts, asked.threads)
                    out = {library: pool.submit(write, library, *given).result() for library, pool in workers.items()}
                    ours, theirs = out["lt_trainer"], out["transformers"]
                    equal = sum(a == b for a, b in zip(ours.tokens, theirs.tokens, strict=True))
                    speeds = [sum(map(len, one.tokens)) / one.seconds for one in (theirs, ours)]
                    name = f"{family}, {'greedy' if beams == 1 else f'{beams} beams'}"
                    ratio = speeds[1] / speeds[0]
                    numbers = [f"{speeds[0]:.0f}", f"{speeds[1]:.0f}", f"{ratio:.2f}"]
                    lines.append([name, f"{equal} of {asked.prompts}", *numbers])
                    short += [f"{name}: tokens"] * (equal < asked.prompts) + [f"{name}: speed"] * (ratio < 1)
    finally:
        for pool in workers.values():
            pool.shutdown(cancel_futures=True)
    head = ["case", "prompts with equal tokens", "tokens/s, `transformers`", "tokens/s, lt_trainer", "times as fast"]
    print(table(head, lines))
    print(f"\nSeconds of the processor, {asked.threads} thread. {circumstances()}")
    print(*(f"falls short: {what}" for what in short), sep="\n", file=sys.stderr)
    return int(bool(short))


if __name__ == "__main__":
    raise SystemExit(main())
