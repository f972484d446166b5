"""What a large vocabulary costs: memory, and operations that nobody needs."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import lt_trainer
from lt_trainer.losses import CHUNK_ROWS, linear_cross_entropy

ROWS, WIDTH, VOCABULARY = 4096, 64, 16_000
MEASURE = """
import torch
from lt_trainer.losses import linear_cross_entropy

def most():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))

torch.manual_seed(0)
hidden = torch.randn({rows}, {width}, requires_grad=True)
weight = torch.randn({vocabulary}, {width}, requires_grad=True)
labels = torch.randint(0, {vocabulary}, ({rows},))
linear_cross_entropy(hidden[:8], weight[:64], None, labels[:8] % 64)[0].backward()
weight.grad = hidden.grad = None
before = most()
linear_cross_entropy(hidden, weight, None, labels)[0].backward()
print(most() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status: `ru_maxrss` begins at that of the parent")
def test_the_loss_holds_no_more_than_three_chunks_of_logits() -> None:
    """Above the gradients of what goes in, which any loss has; all logits would be eight chunks, and three copies."""
    code = MEASURE.format(rows=ROWS, width=WIDTH, vocabulary=VOCABULARY)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    extra = int(done.stdout) * 1024
    gradients = 4 * WIDTH * (ROWS + VOCABULARY)
    assert 0 < extra <= 1.1 * 3 * 4 * CHUNK_ROWS * VOCABULARY + gradients


def test_masked_language_modelling_scores_masked_positions_alone() -> None:
    """At 15 %, of the operations of the head."""
    size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    config = lt_trainer.AutoConfig.for_model("bert", vocab_size=5000, **size)
    model = lt_trainer.AutoModelForMaskedLM.from_config(config)
    states_ND = torch.randn(400, 32, requires_grad=True)
    labels_N = torch.randint(0, 5000, (400,))
    masked_N = torch.rand(400) < 0.15

    def operations(step: object) -> int:
        in_place = {
            torch.ops.aten.addmm_: lambda own, a, b, **others: 2 * a[0] * a[1] * b[1]
        }  # which it does not know by itself
        with FlopCounterMode(display=False, custom_mapping=in_place) as counter:
            step().backward()  # type: ignore[operator]
        return counter.get_total_flops()

    ours = operations(lambda: model.loss_at(states_ND[masked_N], labels_N[masked_N])[0])
    dense = operations(lambda: F.cross_entropy(model.scores(states_ND), labels_N.where(masked_N, -100)))
    assert 0 < ours <= 0.2 * dense


@pytest.mark.slow
def test_chunks_take_hardly_longer_than_all_logits_at_once() -> None:
    hidden = torch.randn(2048, 128, requires_grad=True)
    weight = torch.randn(16_000, 128, requires_grad=True)
    labels = torch.randint(0, 16_000, (2048,))

    def seconds(loss: object) -> float:
        times = []
        for _ in range(5):
            hidden.grad = weight.grad = None
            start = time.process_time()
            loss().backward()  # type: ignore[operator]
            times.append(time.process_time() - start)
        return min(times)

    chunked = seconds(lambda: linear_cross_entropy(hidden, weight, None, labels)[0])
    dense = seconds(lambda: F.cross_entropy(F.linear(hidden, weight), labels, reduction="sum"))
    assert chunked <= 1.1 * dense
