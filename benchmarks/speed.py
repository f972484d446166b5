"""How much faster training, `evaluate` and `predict` are than with `transformers.Trainer`, on the same rows.

    python benchmarks/speed.py [--cases cls,clspad,mlm] [--rounds 5] [--steps 60] [--threads 1,2] [--clock wall]

A BERT of 4 layers of width 256 with random weights and dropout 0.1, batches of 16 rows, on the CPU. The libraries run
in turn, and in each round the other one begins, so that both meet the same weather on a machine that others use too. A
first round of a few steps warms up and is thrown away. The table holds ratios of medians: 2.00 is twice as fast.

    cls      classification; a batch is padded to its longest row
    clspad   classification; each row was padded to 128 tokens when it was tokenized
    mlm      masked language modelling; a batch is padded to its longest row

On a machine that is busy with other things, two threads wait for each other and no wall clock means much: there,
`--threads 1 --clock cpu` counts the processor's seconds instead.

LT_TRAINER_DATA names a folder with SST-2 (sst2/train.tsv, sst2/dev.tsv); without it the built-in text is used.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from dataclasses import replace
from typing import TYPE_CHECKING

from common import CASES, CLOCKS, LIBRARIES, Job, Result, circumstances, prepare, table, train, worker

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

WHAT = ("train", "evaluate", "predict")
WARM_UP_STEPS = 3
Workers = dict[str, "ProcessPoolExecutor"]
Times = dict[str, dict[str, list[float]]]  # library -> what -> seconds of each round


def measure(workers: Workers, job: Job, rounds: int) -> Times:
    """Runs one job with both libraries in turn."""
    for library, pool in workers.items():
        pool.submit(train, library, replace(job, steps=WARM_UP_STEPS)).result()
    times: Times = {library: {what: [] for what in WHAT} for library in LIBRARIES}
    for number in range(rounds):
        for library in LIBRARIES if number % 2 == 0 else reversed(LIBRARIES):
            result: Result = workers[library].submit(train, library, job).result()
            for what, seconds in result.seconds.items():
                times[library][what].append(seconds)
        print(
            f"  {job.case}, {job.threads} threads, round {number + 1}: {said(times, -1)}", file=sys.stderr, flush=True
        )
    return times


def said(times: Times, number: int) -> str:
    """The seconds of one round in words."""
    pairs = [[times[library][what][number] for library in LIBRARIES] for what in WHAT]
    return ", ".join(f"{what} {a:.2f} / {b:.2f} s" for what, (a, b) in zip(WHAT, pairs, strict=True))


def row(job: Job, times: Times) -> list[str]:
    """Ratios of medians, and the milliseconds of a training step."""
    medians = {library: {what: statistics.median(times[library][what]) for what in WHAT} for library in LIBRARIES}
    theirs, ours = (medians[library] for library in LIBRARIES)
    steps = [f"{1000 * seconds['train'] / job.steps:.0f}" for seconds in (theirs, ours)]
    return [job.case, str(job.threads), *(f"{theirs[what] / ours[what]:.2f}" for what in WHAT), *steps]


def main() -> int:
    """Prints the table."""
    options = argparse.ArgumentParser(description="Training and evaluation beside transformers.Trainer.")
    options.add_argument("--cases", default=",".join(CASES), help=f"some of {', '.join(CASES)}")
    options.add_argument("--rounds", type=int, default=5, help="runs of each library and case")
    options.add_argument("--steps", type=int, default=60, help="optimizer steps of a run")
    options.add_argument("--threads", default="1,2", help="numbers of threads, each a row of the table")
    options.add_argument("--clock", default="wall", choices=CLOCKS, help="seconds of the wall clock or the processor")
    asked = options.parse_args()
    cases, threads = asked.cases.split(","), [int(number) for number in asked.threads.split(",")]
    if unknown := sorted({*cases} - {*CASES}):
        options.error(f"--cases {asked.cases}: expected some of {', '.join(CASES)}, received {', '.join(unknown)}")
    workers = {library: worker(library) for library in LIBRARIES}
    rows = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            text = prepare(folder, cases)
            for case in cases:
                for number in threads:
                    job = Job(case, folder, steps=asked.steps, threads=number, predicts=True, clock=asked.clock)
                    rows.append(row(job, measure(workers, job, asked.rounds)))
    finally:
        for pool in workers.values():
            pool.shutdown(cancel_futures=True)
    print(table(["case", "threads", *WHAT, "ms a step, `transformers`", "ms a step, lt_trainer"], rows))
    print(f"\nText: {text}; rounds of {asked.steps} steps: {asked.rounds}. {circumstances()}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
