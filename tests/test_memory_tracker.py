from __future__ import annotations

import sys
import time

import pytest
import torch

from lt_trainer import AutoModelForSequenceClassification, Trainer, TrainingArguments
from lt_trainer.memory_tracker import MemoryTracker
from tests.support import write_bert

pytest.importorskip("psutil")
MIB = 1 << 20
ROWS = [{"input_ids": [1, 2, 3], "attention_mask": [1, 1, 1], "labels": i % 2} for i in range(8)]


def trainer(tmp_path, **options):
    model = AutoModelForSequenceClassification.from_pretrained(write_bert(tmp_path / "model"))
    args = TrainingArguments(
        str(tmp_path / "out"),
        max_steps=2,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
        **options,
    )
    return Trainer(model, args, train_dataset=ROWS, eval_dataset=ROWS)


def named(metrics):
    return {name for name in metrics if "_mem_" in name}


def test_what_a_stage_leaves_and_what_it_gave_back_in_bytes():
    tracker = MemoryTracker(is_off=False)
    assert tracker.stop("init") == {}
    tracker.start("train")
    kept, given_back = torch.ones(64 * MIB // 4), torch.ones(256 * MIB // 4)
    time.sleep(0.2)
    del given_back
    found = tracker.stop("train")
    assert found["train_mem_cpu_alloc_delta"] == pytest.approx(kept.nbytes, abs=16 * MIB)
    assert found["train_mem_cpu_peaked_delta"] == pytest.approx(256 * MIB, abs=16 * MIB)
    assert found["before_init_mem_cpu"] > 10 * MIB


def test_a_stage_inside_another_counts_to_that():
    tracker = MemoryTracker(is_off=False)
    tracker.stop("init")
    tracker.start("train")
    tracker.start("eval")
    assert tracker.stop("eval") == {}
    assert "train_mem_cpu_alloc_delta" in tracker.stop("train")


def test_a_stage_that_an_error_left_open_does_not_hide_those_after_it():
    tracker = MemoryTracker(is_off=False)
    tracker.stop("init")
    tracker.start("train")
    tracker.start("train")
    assert tracker.stop("train")
    tracker.start("eval")
    tracker.start("train")
    assert tracker.stop("train")
    tracker.start("eval")
    assert tracker.stop("eval")


def test_the_names_are_those_of_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    peer = transformers.BertForSequenceClassification.from_pretrained(write_bert(tmp_path / "model"))
    args = transformers.TrainingArguments(
        str(tmp_path / "theirs"),
        max_steps=2,
        report_to="none",
        skip_memory_metrics=False,
        disable_tqdm=True,
        use_cpu=True,
    )
    theirs = transformers.Trainer(peer, args, train_dataset=ROWS, eval_dataset=ROWS)
    ours = trainer(tmp_path, skip_memory_metrics=False)
    for call in ("train", "evaluate", "predict"):
        found = [getattr(one, call)(*([ROWS] if call == "predict" else [])) for one in (ours, theirs)]
        assert named(found[0].metrics if call != "evaluate" else found[0]), call
        assert len({frozenset(named(m if call == "evaluate" else m.metrics)) for m in found}) == 1, call
    logged = [{name for entry in one.state.log_history for name in named(entry)} for one in (ours, theirs)]
    assert logged[0] == logged[1] != set()


def test_nothing_is_measured_by_default(tmp_path, capsys):
    assert not named(trainer(tmp_path).train().metrics)


def test_memory_is_printed_in_mebibytes(tmp_path, capsys):
    trainer(tmp_path).log_metrics("train", {"train_mem_cpu_alloc_delta": 3 * MIB + 5, "train_loss": 0.5})
    assert "train_mem_cpu_alloc_delta = 3 MB" in capsys.readouterr().out


def test_a_missing_psutil_is_named_before_anything_is_trained(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "psutil", None)
    with pytest.raises(ModuleNotFoundError, match=r"skip_memory_metrics=False: expected psutil.*pip install psutil"):
        trainer(tmp_path, skip_memory_metrics=False)
