"""How far loss and gradient norm move when the rows of an optimizer step are cut up in another way.

    python benchmarks/invariance.py [--cases cls,mlm]

The same 16 rows a step as 16x1, 4x4 and 1x16 (rows of a micro-batch x accumulation), and the same 15 rows as 15x1 and
5x3, at learning rate 0 and without dropout. The table holds the largest relative difference from the first way of each,
over two steps; 0 is right, and float32 rounding is about 1e-6. Evaluation runs with the same batch sizes.

LT_TRAINER_DATA names a folder with SST-2 (sst2/train.tsv, sst2/dev.tsv); without it the built-in text is used.
"""

from __future__ import annotations

import argparse
import tempfile
from typing import TYPE_CHECKING

from common import CASES, LIBRARIES, Job, Result, circumstances, prepare, table, train, worker

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

WAYS = {(16, 1): ((4, 4), (1, 16)), (15, 1): ((5, 3),)}  # whole batches -> the ways to cut them up
STEPS = 2


def difference(expected: list[float], received: list[float]) -> float:
    """The largest relative difference of two lists."""
    return max(abs(a - b) / max(abs(a), 1e-6) for a, b in zip(expected, received, strict=True))


def differences(whole: Result, cut: Result) -> list[str]:
    """Of loss, gradient norm and evaluation loss."""
    pairs = (
        (whole.losses, cut.losses),
        (whole.grad_norms, cut.grad_norms),
        ([whole.eval_loss], [cut.eval_loss]),
    )
    return [f"{difference(a, b):.1e}" for a, b in pairs]


def main() -> int:
    """Prints the table."""
    options = argparse.ArgumentParser(description="Does the loss depend on how a step is cut up?")
    options.add_argument("--cases", default="cls,mlm", help=f"some of {', '.join(CASES)}")
    asked = options.parse_args()
    cases = asked.cases.split(",")
    if unknown := sorted({*cases} - {*CASES}):
        options.error(f"--cases {asked.cases}: expected some of {', '.join(CASES)}, received {', '.join(unknown)}")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        text = prepare(folder, cases, dropout=0.0)
        for library in LIBRARIES:
            with worker(library) as pool:
                for case in cases:
                    rows += compare(pool, library, case, folder)
    print(table(["library", "case", "rows x accumulation", "loss", "gradient norm", "evaluation loss"], rows))
    print(f"\nText: {text}. {circumstances()}")
    return 0


def compare(pool: ProcessPoolExecutor, library: str, case: str, folder: str) -> list[list[str]]:
    """The rows of one library and case."""

    def run(batch_size: int, accumulation: int) -> Result:
        job = Job(case, folder, STEPS, batch_size, accumulation, learning_rate=0.0, logging_steps=1)
        return pool.submit(train, library, job).result()

    rows = []
    for whole, ways in WAYS.items():
        expected = run(*whole)
        rows += [[library, case, f"{b}x{a}", *differences(expected, run(b, a))] for b, a in ways]
    return rows


if __name__ == "__main__":
    raise SystemExit(main())
