"""What an evaluation over a large vocabulary holds: batches, and never the data set's logits."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status"),
]
MIB = 1024  # of what the system counts in KiB
TOKENS, VOCABULARY = 64, 50_257
SCRIPT = f"""
import json, sys
import numpy as np
import torch

torch.set_num_threads(1)
from lt_trainer import AutoConfig, AutoModelForCausalLM, Trainer, TrainingArguments


class Rows:
    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, row):
        ids = np.random.default_rng(row).integers(0, {VOCABULARY}, {TOKENS}).tolist()
        return {{"input_ids": ids, "labels": ids}}


def kib(name):
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(name + ":")))


def accuracy(prediction):
    anonymous.append(kib("RssAnon"))
    right = 0
    for row, labels in zip(prediction.predictions, prediction.label_ids):
        words = row if row.ndim == 1 else row.argmax(-1)
        right += int((words[:-1] == labels[1:]).sum())
    return {{"accuracy": right / (len(labels) - 1) / len(prediction.label_ids)}}


anonymous = []
what = {{
    "loss": {{}},
    "words": {{"compute_metrics": accuracy, "preprocess_logits_for_metrics": lambda logits, labels: logits.argmax(-1)}},
    "logits": {{"compute_metrics": accuracy}},
}}
sizes = {{"n_embd": 8, "n_layer": 1, "n_head": 1, "n_positions": {TOKENS}}}
torch.manual_seed(0)
model = AutoModelForCausalLM.from_config(AutoConfig.for_model("gpt2", vocab_size={VOCABULARY}, **sizes))
args = TrainingArguments(sys.argv[1], report_to="none", disable_tqdm=True, use_cpu=True)
trainer = Trainer(model, args, **what[sys.argv[2]])
before, without_files = kib("VmRSS"), kib("RssAnon")
found = []
for rows in map(int, sys.argv[3:]):
    metrics = trainer.evaluate(Rows(rows))
    found.append([metrics["eval_loss"], metrics.get("eval_accuracy"), kib("VmHWM") - before])
print("RESULT", json.dumps([found, [now - without_files for now in anonymous]]))
"""


def evaluate(folder, kind: str, *rows: int):
    """For each number of rows (loss, accuracy, most KiB above the start); KiB without files as each metric began."""
    command = [sys.executable, "-c", SCRIPT, str(folder), kind, *map(str, rows)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    return json.loads(done.stdout.rpartition("RESULT ")[2])


def test_a_loss_over_a_large_vocabulary_takes_no_more_for_more_rows(tmp_path):
    """The logits of these rows are 6 GB."""
    (_, (_, _, least), (_, _, most)), _ = evaluate(tmp_path, "loss", 100, 100, 500)
    assert most < 500 * MIB
    assert most - least < 400 + 4 * MIB  # a KiB a row, and what the allocator rounds whatever the number of rows


def test_words_in_place_of_logits_are_all_that_is_kept(tmp_path):
    """A user's function gets logits as `transformers` gives them, from a file: the accuracy over words is theirs."""
    words, _ = evaluate(tmp_path, "words", 48, 48, 144)
    grown = words[2][2] - words[1][2]
    assert grown < 96 * 2 * 8 * TOKENS / 1024 + 4 * MIB  # words and labels; logits would be 96 times 12 MiB
    logits, anonymous = evaluate(tmp_path, "logits", 48)
    assert logits[0][:2] == words[0][:2]
    assert anonymous[0] < 48 * TOKENS * VOCABULARY * 4 / 1024 / 2  # KiB: not even half of the logits
