"""Gradient checkpointing: the same gradients from less memory, for each native family and a foreign one.

    python benchmarks/memory.py [--layers 8] [--rows 16] [--tokens 128] [--dropout 0.1]

A forward and a backward pass with random weights and one batch. The memory is the most that is allocated at a time,
above what model, batch and gradients hold: every allocation of torch on the CPU counts, by its profiler.
"""

from __future__ import annotations

import argparse
import tempfile
from typing import Any

import torch
from common import circumstances, quiet, table
from torch import nn
from torch.profiler import ProfilerActivity, profile

import lt_trainer

VOCABULARY, WIDTH = 1000, 128
FAMILIES = ("bert", "roberta", "distilbert", "gpt2", "t5", "electra")
LAYERS = {"gpt2": "n_layer", "distilbert": "n_layers", "t5": "num_layers"}
SIZES: dict[str, dict[str, int]] = {
    "distilbert": {"dim": WIDTH, "n_heads": 4, "hidden_dim": 4 * WIDTH},
    "gpt2": {"n_embd": WIDTH, "n_head": 4},
    "t5": {"d_model": WIDTH, "d_kv": WIDTH // 4, "num_heads": 4, "d_ff": 4 * WIDTH, "decoder_start_token_id": 0},
}
USUAL = {"hidden_size": WIDTH, "num_attention_heads": 4, "intermediate_size": 4 * WIDTH, "embedding_size": WIDTH}
DROPOUT = {"gpt2": ("resid_pdrop", "attn_pdrop", "embd_pdrop"), "t5": ("dropout_rate",)}
DROPOUT["distilbert"] = ("dropout", "attention_dropout")


def model_of(family: str, layers: int, dropout: float) -> nn.Module:
    """A model with random weights, in training mode; `electra` comes from `transformers`."""
    import transformers

    rates = dict.fromkeys(DROPOUT.get(family, ("hidden_dropout_prob", "attention_probs_dropout_prob")), dropout)
    sizes = {**SIZES.get(family, USUAL), LAYERS.get(family, "num_hidden_layers"): layers, **rates}
    config = transformers.AutoConfig.for_model(family, vocab_size=VOCABULARY, **sizes)
    head = {"gpt2": "CausalLM", "t5": "Seq2SeqLM"}.get(family, "MaskedLM")
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        getattr(transformers, f"AutoModelFor{head}").from_config(config).save_pretrained(folder)
        model: nn.Module = getattr(lt_trainer, f"AutoModelFor{head}").from_pretrained(folder)
    return model.train()


def batch_of(rows: int, tokens: int) -> dict[str, torch.Tensor]:
    """Rows of random lengths, the first of `tokens`."""
    draw = torch.Generator().manual_seed(1)
    ids = torch.randint(5, VOCABULARY, (rows, tokens), generator=draw)
    lengths = torch.randint(tokens // 4, tokens + 1, (rows,), generator=draw)
    lengths[0] = tokens
    mask = (torch.arange(tokens) < lengths[:, None]).long()
    return {"input_ids": ids * mask, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, -100)}


def one_pass(model: nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Gradients of one batch, with the same dropout each time."""
    model.zero_grad(set_to_none=False)
    torch.manual_seed(2)
    model(**batch)["loss"].backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def peak(model: nn.Module, batch: dict[str, torch.Tensor]) -> int:
    """Bytes that a pass has allocated at its highest point; gradients are there before."""
    model.zero_grad(set_to_none=False)
    torch.manual_seed(2)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        model(**batch)["loss"].backward()
    assert found.profiler is not None
    events = [e for e in found.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


def row_of(family: str, args: argparse.Namespace) -> list[str]:
    """A family's row of the table."""
    model, batch = model_of(family, args.layers, args.dropout), batch_of(args.rows, args.tokens)
    plain, before = one_pass(model, batch), peak(model, batch)
    enable: Any = model.gradient_checkpointing_enable
    enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    again, after = one_pass(model, batch), peak(model, batch)
    far = max(float((again[name] - plain[name]).abs().max() / plain[name].abs().max()) for name in plain)
    kind = "native" if type(model).__module__.startswith("lt_trainer") else "transformers"
    return [family, kind, f"{before / 2**20:.1f}", f"{after / 2**20:.1f}", f"{after / before:.2f}", f"{far:.0e}"]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("layers", 8), ("rows", 16), ("tokens", 128)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--dropout", type=float, default=0.1)
    args = parser.parse_args()
    quiet("transformers")
    torch.set_num_threads(1)
    head = ["family", "code", "MB, all kept", "MB, computed again", "share", "largest difference of a gradient"]
    print(table(head, [row_of(family, args) for family in FAMILIES]))
    print(circumstances())


if __name__ == "__main__":
    main()
