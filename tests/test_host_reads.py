"""What a step reads back from its device: each such read makes the host wait for a GPU."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import lt_trainer
from lt_trainer import Trainer, TrainerCallback, TrainingArguments
from tests.families import TINY, VOCABULARY

READS = {"aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::is_nonzero", "aten::masked_select"}
ON_A_CPU = ("base.py", "clip")  # asks for the norm of a CPU alone


class Witness(TorchDispatchMode):
    """Notes which function of ours reads a number out of a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[tuple[str, str]] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func._schema.name in READS:
            stack = [f for f in traceback.extract_stack() if "lt_trainer" in Path(f.filename).parts[:-1]]
            self.found.add((Path(stack[-1].filename).name, stack[-1].name))
        return func(*args, **(kwargs or {}))


class Watched(Trainer):
    """Watches each step that logs nothing, and only it: batches are packed on the CPU before."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.witness = Witness()
        self.add_callback(Switch(self.witness))


class Switch(TrainerCallback):
    """From the begin of a step to its end."""

    def __init__(self, witness: Witness) -> None:
        self.witness = witness

    def on_step_begin(self, args, state, control, **kwargs):
        self.witness.__enter__()

    def on_step_end(self, args, state, control, **kwargs):
        self.witness.__exit__(None, None, None)


def reads(tmp_path, family: str, head: str, **options) -> set[tuple[str, str]]:
    transformers = pytest.importorskip("transformers")
    config = transformers.AutoConfig.for_model(family, vocab_size=VOCABULARY, **TINY[family])
    torch.manual_seed(0)
    getattr(transformers, f"AutoModelFor{head}").from_config(config).save_pretrained(tmp_path / "model")
    model = getattr(lt_trainer, f"AutoModelFor{head}").from_pretrained(tmp_path / "model")
    rows = [{"input_ids": (ids := list(range(5, 12 + i))), "labels": ids} for i in range(8)]
    if head == "SequenceClassification":
        rows = [{**row, "labels": i % 2} for i, row in enumerate(rows)]
    settings = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 2, "max_steps": 3, "logging_steps": 9}
    settings |= {"report_to": "none", "disable_tqdm": True, "use_cpu": True, "save_strategy": "no", "bf16": True}
    trainer = Watched(model, TrainingArguments(str(tmp_path / "run"), **{**settings, **options}), train_dataset=rows)
    trainer.train()
    return trainer.witness.found - {ON_A_CPU}


@pytest.mark.parametrize(
    ("family", "head"),
    [("bert", "SequenceClassification"), ("bert", "MaskedLM"), ("gpt2", "CausalLM"), ("t5", "Seq2SeqLM")],
)
def test_a_step_without_a_log_reads_nothing_where_on_nan_ignores(tmp_path, family, head) -> None:
    assert reads(tmp_path, family, head, on_nan="ignore") == set()


def test_on_nan_reads_the_norm_and_nothing_else(tmp_path) -> None:
    assert reads(tmp_path, "gpt2", "CausalLM") == {("module.py", "_stops_at")}
