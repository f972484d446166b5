"""FSDP2 on two processes sees the losses, norms, metrics and weights of one process that holds the whole model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file

from lt_trainer import AutoTokenizer
from tests.distributed.test_launchers import TEXTS, free_port, run
from tests.support import write_bert

pytest.importorskip("transformers")
pytestmark = pytest.mark.slow
SCRIPT = str(Path(__file__).with_name("fsdp_script.py"))
FIRST = "checkpoint-3"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fsdp")
    write_bert(folder / "model", head="masked")
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    rows = {**tokenizer(TEXTS[:21]), "label": [i % 2 for i in range(21)]}  # the last window has no row for one process
    Dataset.from_dict(rows).save_to_disk(str(folder / "rows"))
    return folder


@pytest.fixture(scope="module")
def both(world):
    root = str(Path(__file__).parents[2])
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={free_port()}"]
    # each goes on from what the other saved: one process first, which has nothing of the other yet
    run([SCRIPT, str(world), str(world / "first")], PYTHONPATH=root)
    sharded = run(
        [*launcher, SCRIPT, str(world), str(world / "two"), str(world / "first/native" / FIRST)], PYTHONPATH=root
    )
    alone = run([SCRIPT, str(world), str(world / "one"), str(world / "two/native" / FIRST)], PYTHONPATH=root)
    return alone, sharded


WAYS = ["native", "stopped", "resumed", "foreign", "elsewhere"]


@pytest.mark.parametrize("way", [*WAYS, "together"])
def test_two_processes_see_what_one_sees(both, way):
    alone, sharded = (found[way] for found in both)
    rel = 0.05 if way == "together" else 2e-5  # bfloat16 rounds each share by itself
    assert len(sharded["history"]) == len(alone["history"]) > 0
    for entry, expected in zip(sharded["history"], alone["history"], strict=True):
        assert entry == pytest.approx(expected, rel=rel)
    assert sharded["evaluation"] == pytest.approx(alone["evaluation"], rel=rel)


@pytest.mark.parametrize("way", WAYS)
def test_the_first_norm_is_that_of_one_process(both, way):
    first, expected = (found[way]["history"][0]["grad_norm"] for found in both)
    assert first == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("folder", ["native/final", "native/inside", "native/checkpoint-3", "resumed/final"])
def test_folders_are_whole_float32_models_that_transformers_loads(world, both, folder):
    from transformers import AutoModelForSequenceClassification

    _, info = AutoModelForSequenceClassification.from_pretrained(world / "two" / folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    ours, expected = (load_file(world / name / folder / "model.safetensors") for name in ("two", "one"))
    assert {tensor.dtype for tensor in ours.values()} == {torch.float32}
    torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-5)


def test_transformers_gives_the_logits_that_training_ended_with(world, both):
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(world / "two/native/final").eval()
    tokenizer = AutoTokenizer.from_pretrained(world / "model")
    for text, logits in zip(TEXTS[:21], both[1]["native"]["logits"], strict=True):
        row = {name: torch.tensor([values]) for name, values in tokenizer(text).items()}
        with torch.no_grad():
            torch.testing.assert_close(model(**row).logits[0], torch.tensor(logits), rtol=0, atol=1e-5)


@pytest.mark.parametrize("way", ["resumed", "elsewhere"])
def test_a_run_that_goes_on_ends_as_if_never_stopped(world, both, way):
    # the run that was never stopped takes its best model at the end, so the last checkpoint is its end
    atol = 1e-6 if way == "resumed" else 1e-5  # the keys' bias has no gradient but rounding, which Adam makes large
    for name in ("one", "two"):
        whole = load_file(world / name / "native/checkpoint-6/model.safetensors")
        torch.testing.assert_close(load_file(world / name / way / "final/model.safetensors"), whole, rtol=0, atol=atol)


def test_the_optimizer_is_saved_whole_and_by_the_numbers_of_the_parameters(world, both):
    ours, expected = (torch.load(world / name / "native/checkpoint-3/optimizer.pt") for name in ("two", "one"))
    assert ours["param_groups"] == expected["param_groups"]
    for number, state in expected["state"].items():
        for name, value in state.items():
            torch.testing.assert_close(ours["state"][number][name], value, rtol=1e-3, atol=1e-6)
