"""Layers computed again in the backward pass, and compiled parts: the numbers stay the same."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import lt_trainer
from lt_trainer.models.running import Layer, TokenWise, compile_layers, recomputes
from tests.support import BERT_CONFIG

DROPOUT = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
CONFIGS = {
    "bert": {**BERT_CONFIG, **DROPOUT},
    "distilbert": {
        "model_type": "distilbert",
        "vocab_size": 80,
        "dim": 32,
        "n_layers": 2,
        "n_heads": 2,
        "hidden_dim": 64,
    },
    "gpt2": {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "t5": {
        "model_type": "t5",
        "vocab_size": 80,
        "d_model": 32,
        "num_layers": 2,
        "num_heads": 2,
        "d_ff": 64,
        "d_kv": 16,
    },
}
HEADS = {"bert": "MaskedLM", "distilbert": "MaskedLM", "gpt2": "CausalLM", "t5": "Seq2SeqLM"}
CONFIGS["t5"] |= {"decoder_start_token_id": 0, "pad_token_id": 0}


def model_of(family):
    torch.manual_seed(0)
    values = {"vocab_size": 80} | CONFIGS[family]
    config = lt_trainer.AutoConfig.for_model(values.pop("model_type"), **values)
    return getattr(lt_trainer, f"AutoModelFor{HEADS[family]}").from_config(config).train()


def batch_of(lengths=(9, 2, 5), seed=1):
    draw = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, 80, (len(lengths), max(lengths)), generator=draw)
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    return {"input_ids": ids * mask, "attention_mask": mask, "labels": ids.where(mask.bool(), -100)}


def gradients(model, batch):
    torch.manual_seed(7)
    loss = model(**batch).loss
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize("family", CONFIGS)
def test_recomputed_layers_give_the_same_loss_and_gradients_with_dropout(family):
    model = model_of(family)
    again = copy.deepcopy(model)
    again.gradient_checkpointing_enable()
    (loss, grads), (loss_again, grads_again) = gradients(model, batch_of()), gradients(again, batch_of())
    assert torch.equal(loss, loss_again)
    torch.testing.assert_close(grads_again, grads)


@pytest.mark.parametrize("family", CONFIGS)
def test_recomputed_layers_keep_less_for_the_backward_pass(family):
    def kept(model):
        seen = {}
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x: seen.setdefault(x.data_ptr(), x) is None or x, lambda x: x
        ):
            model(**batch_of((40, 30))).loss  # noqa: B018
        parameters = {p.data_ptr() for p in model.parameters()}
        return sum(x.numel() for pointer, x in seen.items() if pointer not in parameters)

    model = model_of(family)
    before = kept(model)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    assert kept(model) < before / 2


def test_each_second_layer_is_computed_again_where_that_was_asked():
    model = model_of("bert")
    model.activation_checkpointing_enable(every_n_layers=2)
    assert [layer.recompute is not None for layer in model.bert.encoder.layer] == [True, False]
    with pytest.raises(ValueError, match="expected 1 or more, received 0"):
        model.activation_checkpointing_enable(every_n_layers=0)


def test_offloaded_inputs_change_no_number():
    model = model_of("gpt2")
    again = copy.deepcopy(model)
    again.gradient_checkpointing_enable(offload=True)
    torch.testing.assert_close(gradients(again, batch_of()), gradients(model, batch_of()))


def test_evaluation_computes_nothing_twice():
    model = model_of("bert").eval()
    model.gradient_checkpointing_enable()
    calls = []
    model.bert.encoder.layer[0].register_forward_hook(lambda *_: calls.append(1))
    model(**batch_of()).loss.backward()
    assert len(calls) == 1


def test_gradient_checkpointing_is_turned_off_again():
    model = model_of("bert")
    assert model.supports_gradient_checkpointing
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"preserve_rng_state": False})
    assert model.is_gradient_checkpointing
    assert recomputes(model)
    model.gradient_checkpointing_disable()
    assert not model.is_gradient_checkpointing


def test_an_unknown_option_names_the_nearest():
    with pytest.raises(TypeError, match="received 'use_rentrant'; did you mean 'use_reentrant'"):
        model_of("bert").gradient_checkpointing_enable({"use_rentrant": True})


def test_the_reentrant_way_is_said_not_to_be_taken(caplog):
    model_of("bert").gradient_checkpointing_enable({"use_reentrant": True})
    assert "whose gradients are the same" in caplog.text


def test_a_model_without_layers_cannot_be_recomputed():
    with pytest.raises(ValueError, match="expected a model with layers, received Linear"):
        lt_trainer.models.running.recompute_layers(nn.Linear(1, 1), None)


@pytest.mark.parametrize("family", CONFIGS)
def test_every_layer_has_a_part_that_a_compiler_can_fuse(family):
    layers = [module for module in model_of(family).modules() if isinstance(module, Layer)]
    assert len(layers) >= 2
    assert all(any(isinstance(part, TokenWise) for part in layer.modules()) for layer in layers)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # dynamo looks at it
@pytest.mark.parametrize("family", CONFIGS)
def test_ragged_batches_compile_a_few_times_and_give_the_same_numbers(family):
    """One compilation for each kind of part, whatever the number of tokens and layers."""
    torch._dynamo.reset()
    model = model_of(family)
    compiled = copy.deepcopy(model)
    names = list(model.state_dict())
    graphs = []

    def count(graph, inputs):
        graphs.append(graph)
        return graph.forward

    for part in (p for layer in compiled.modules() if isinstance(layer, Layer) for p in layer.modules()):
        if isinstance(part, TokenWise):
            part.compile(backend=count, dynamic=True)
    for lengths in ((9, 2, 5), (3, 4), (17, 2, 2, 8), (6, 6), (11, 3, 7)):
        (loss, grads), (same, grads_same) = (gradients(m, batch_of(lengths)) for m in (model, compiled))
        torch.testing.assert_close(same, loss)
        torch.testing.assert_close(grads_same, grads, rtol=1e-4, atol=1e-6)
    assert 1 <= len(graphs) <= 4
    assert list(compiled.state_dict()) == names


def test_a_backend_that_does_not_exist_names_the_nearest():
    with pytest.raises(ValueError, match="received 'inducter'; did you mean 'inductor'"):
        compile_layers(model_of("bert"), "inducter", None)


def test_a_missing_compiler_is_said_before_training(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(ValueError, match="neither g\\+\\+ nor clang\\+\\+"):
        compile_layers(model_of("bert"), "inductor", None)
