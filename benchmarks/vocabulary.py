"""What the loss over a large vocabulary costs: memory, time and operations, beside all logits at once.

    python benchmarks/vocabulary.py [--rows 4096] [--width 256] [--threads 1]

For the projection of each kind of language model: GPT-2's and T5's without a bias, BERT's with one, of whose rows 15 %
are masked. `dense` is torch's cross entropy over the scores of all rows, ours takes `losses.CHUNK_ROWS` rows at a time.

Expected: memory above the gradients at most three chunks of logits (+10 %), loss and gradients equal to 1e-5, time at
most 1.1 times that of `dense`, and for masked words at most 20 % of its operations. Exits with 1 where one falls short.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from common import circumstances, table
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from lt_trainer.losses import CHUNK_ROWS, IGNORED, linear_cross_entropy

if TYPE_CHECKING:
    from torch import Tensor

MIB = 2**20


class Case(NamedTuple):
    """A projection: its vocabulary, whether it has a bias, and the share of rows that are targets."""

    vocabulary: int
    has_bias: bool
    share: float


CASES = {
    "causal-lm (GPT-2)": Case(50_257, False, 1.0),
    "seq2seq (T5)": Case(32_128, False, 1.0),
    "masked-lm (BERT)": Case(30_522, True, 0.15),
}


class Inputs(NamedTuple):
    """States of rows, the projection, and labels, IGNORED where a row is no target."""

    hidden_ND: Tensor
    weight_VD: Tensor
    bias_V: Tensor | None
    labels_N: Tensor

    def gradients(self) -> list[Tensor]:
        """Those of states, weight and bias; they are taken away."""
        found = []
        for value in (self.hidden_ND, self.weight_VD, self.bias_V):
            if value is not None and value.grad is not None:
                found.append(value.grad)
                value.grad = None
        return found


def inputs(case: Case, rows: int, width: int) -> Inputs:
    """The same at each call."""
    draw = torch.Generator().manual_seed(0)
    labels_N = torch.randint(0, case.vocabulary, (rows,), generator=draw)
    return Inputs(
        torch.randn(rows, width, generator=draw).requires_grad_(),
        (torch.randn(case.vocabulary, width, generator=draw) / width**0.5).requires_grad_(),
        torch.zeros(case.vocabulary).requires_grad_() if case.has_bias else None,
        labels_N.masked_fill(torch.rand(rows, generator=draw) >= case.share, IGNORED),
    )


def ours(given: Inputs) -> Tensor:
    """As the heads do it: rows that are no target leave before the projection."""
    read_R = (given.labels_N != IGNORED).nonzero().squeeze(1)
    total, count = linear_cross_entropy(given.hidden_ND[read_R], given.weight_VD, given.bias_V, given.labels_N[read_R])
    return total / count


def dense(given: Inputs) -> Tensor:
    """All scores, and torch's mean over the targets."""
    return F.cross_entropy(F.linear(given.hidden_ND, given.weight_VD, given.bias_V), given.labels_N)


WAYS = {"lt_trainer": ours, "dense": dense}


def most() -> int:
    """The most bytes that this process has held; `ru_maxrss` would begin at what its parent held."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))


def peak(way: str, case: Case, rows: int, width: int) -> int:
    """Bytes above what goes in and above its gradients, at most; in a process that has done nothing else."""
    torch.set_num_threads(1)
    small = Case(64, case.has_bias, 1.0)
    WAYS[way](inputs(small, 16, width)).backward()  # what torch takes once
    given = inputs(case, rows, width)
    before = most()
    WAYS[way](given).backward()
    extra = most() - before
    return extra - sum(gradient.numel() * gradient.element_size() for gradient in given.gradients())


def seconds(given: Inputs, rounds: int) -> dict[str, float]:
    """Processor time of loss and gradients, the ways in turn; medians."""
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way, loss in WAYS.items():
            start = time.process_time()
            loss(given).backward()
            found[way].append(time.process_time() - start)
            given.gradients()
    return {way: statistics.median(times) for way, times in found.items()}


def operations(given: Inputs, way: str) -> int:
    """Multiplications and additions of loss and gradients."""
    in_place = {
        torch.ops.aten.addmm_: lambda own, a, b, **others: 2 * a[0] * a[1] * b[1]
    }  # which it does not know by itself
    with FlopCounterMode(display=False, custom_mapping=in_place) as counter:
        WAYS[way](given).backward()
    given.gradients()
    return int(counter.get_total_flops())


def difference(given: Inputs) -> float:
    """The largest of loss and gradients, as a share of their own size."""
    found = []
    for loss in (dense(given), ours(given)):
        loss.backward()
        found.append([loss.detach(), *given.gradients()])
    return max(float((a - b).norm() / a.norm()) for a, b in zip(*found, strict=True))


def measure(name: str, case: Case, rows: int, width: int, rounds: int) -> tuple[list[str], list[str]]:
    """A row of the table, and what falls short."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        extra = {way: pool.submit(peak, way, case, rows, width).result() for way in WAYS}
    given = inputs(case, rows, width)
    times, apart = seconds(given, rounds), difference(given)
    counted = {way: operations(given, way) for way in WAYS}
    bound = 1.1 * 3 * 4 * CHUNK_ROWS * case.vocabulary
    ratio, share = times["lt_trainer"] / times["dense"], counted["lt_trainer"] / counted["dense"]
    short = {
        f"{name}: memory": extra["lt_trainer"] > bound,
        f"{name}: difference": apart > 1e-5,
        f"{name}: time": ratio > 1.1,
        f"{name}: operations": case.share < 1 and share > 0.2,
    }
    line = [
        name,
        *(f"{value / MIB:.0f}" for value in (extra["lt_trainer"], bound, extra["dense"])),
        f"{apart:.0e}",
        f"{ratio:.2f}",
        f"{100 * share:.0f} %",
    ]
    return line, [what for what, falls in short.items() if falls]


def main() -> int:
    """Prints the table; 0 where nothing falls short."""
    options = argparse.ArgumentParser(description="The loss over a large vocabulary, beside all logits at once.")
    options.add_argument("--rows", type=int, default=4096, help="tokens of a batch")
    options.add_argument("--width", type=int, default=256, help="of a state")
    options.add_argument("--rounds", type=int, default=5, help="of timing")
    options.add_argument("--threads", type=int, default=1, help="of torch, for the times")
    asked = options.parse_args()
    torch.set_num_threads(asked.threads)
    lines, short = [], []
    for name, case in CASES.items():
        line, falls = measure(name, case, asked.rows, asked.width, asked.rounds)
        lines.append(line)
        short += falls
    head = ["head", "MiB", "MiB allowed", "MiB, dense", "difference", "time / dense", "operations / dense"]
    print(table(head, lines))
    print(f"\n{asked.rows} tokens, width {asked.width}, {asked.threads} thread. {circumstances()}")
    print(*(f"falls short: {what}" for what in short), sep="\n", file=sys.stderr)
    return int(bool(short))


if __name__ == "__main__":
    raise SystemExit(main())
