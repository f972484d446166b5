from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from lt_trainer.optim import decay_groups


class T5LayerNorm(nn.Module):
    """A norm that no class of torch is a base of, under a name that tells nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(3, 2)
        self.ln_1 = nn.LayerNorm(2)
        self.root = T5LayerNorm()
        self.frozen = nn.Linear(2, 2).requires_grad_(False)
        self.final_norm = nn.ModuleDict({"scale": nn.Linear(2, 2, bias=False)})
        self.attention = nn.Linear(2, 2)
        self.normal = nn.Linear(2, 2, bias=False)  # no norm, though its name begins like one
        self.head = nn.Linear(2, 3)
        self.head.weight = self.embed.weight  # tied


def names_of(model: nn.Module) -> list[list[str]]:
    names = {id(p): n for n, p in model.named_parameters()}
    return [[names[id(p)] for p in group["params"]] for group in decay_groups(model, 0.1)]


def test_biases_and_norms_do_not_decay_and_tied_weights_come_once() -> None:
    decays, stays = names_of(Net())
    assert decays == ["embed.weight", "attention.weight", "normal.weight"]
    assert stays == [
        *("ln_1.weight", "ln_1.bias", "root.weight", "final_norm.scale.weight", "attention.bias", "head.bias"),
    ]


def test_groups_have_the_decay_that_was_asked_for() -> None:
    assert [group["weight_decay"] for group in decay_groups(Net(), 0.1)] == [0.1, 0.0]


def test_a_model_without_anything_to_train_is_refused() -> None:
    with pytest.raises(ValueError, match="no parameter to train"):
        decay_groups(nn.Linear(2, 2).requires_grad_(False), 0.0)


@pytest.mark.parametrize("family", ["Bert", "GPT2", "T5", "Llama"])
def test_groups_equal_those_of_transformers(family: str) -> None:
    transformers = pytest.importorskip("transformers")
    sizes: dict[str, Any] = {
        "Bert": {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8},
        "GPT2": {"n_embd": 8, "n_layer": 1, "n_head": 2},
        "T5": {"d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2},
        "Llama": {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8},
    }[family]
    model = getattr(transformers, f"{family}Model")(getattr(transformers, f"{family}Config")(vocab_size=10, **sizes))
    decays = transformers.Trainer.get_decay_parameter_names(None, model)
    names = [name for name, _ in model.named_parameters()]
    assert names_of(model) == [[n for n in names if n in decays], [n for n in names if n not in decays]]
