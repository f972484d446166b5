from __future__ import annotations

import pytest
import torch
from torch import nn

from lt_trainer import AutoModelForSequenceClassification
from lt_trainer.neftune import noisy_embeddings

IDS = torch.tensor([[7, 8, 9, 10], [11, 12, 13, 14]])


def model_of(library, folder):
    torch.manual_seed(0)
    return library.from_pretrained(folder, num_labels=2)


def embedded(model, **inputs):
    """What the embedding gives in a forward pass."""
    seen = []
    hook = model.get_input_embeddings().register_forward_hook(lambda module, args, output: seen.append(output))
    model(**inputs)
    hook.remove()
    return seen[0].detach().reshape(-1, seen[0].shape[-1])


def test_noise_equals_that_of_transformers_in_rows_of_one_length(tiny_bert):
    neftune = pytest.importorskip("transformers.integrations.neftune")
    transformers = pytest.importorskip("transformers")
    folder = tiny_bert(head="masked")
    ours = model_of(AutoModelForSequenceClassification, folder).train()
    theirs = model_of(transformers.AutoModelForSequenceClassification, folder).train()
    torch.manual_seed(1)
    with noisy_embeddings(ours, 5.0):
        found = embedded(ours, input_ids=IDS)
    torch.manual_seed(1)
    handle = neftune.activate_neftune(theirs, 5.0)
    torch.testing.assert_close(found, embedded(theirs, input_ids=IDS))
    neftune.deactivate_neftune(theirs, handle)


def test_the_padded_length_sets_the_size_of_the_noise(tiny_bert):
    model = model_of(AutoModelForSequenceClassification, tiny_bert(head="masked")).train()
    plain = embedded(model, input_ids=IDS[:1])
    mask = torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0]])
    with noisy_embeddings(model, 5.0):
        packed = model.pack_inputs({"input_ids": IDS, "attention_mask": mask})
        noisy = embedded(model, **packed)
    size = 5.0 / (4 * plain.shape[-1]) ** 0.5
    difference = (noisy[:4] - plain).abs().max()
    assert 0.8 * size < difference <= size * 1.0001


def test_no_noise_in_evaluation_nor_after(tiny_bert):
    model = model_of(AutoModelForSequenceClassification, tiny_bert(head="masked"))
    plain = embedded(model.eval(), input_ids=IDS)
    with noisy_embeddings(model, 5.0):
        assert torch.equal(embedded(model, input_ids=IDS), plain)
    assert torch.equal(embedded(model.train(), input_ids=IDS), plain)


def test_a_model_without_embeddings_is_refused():
    with (
        pytest.raises(ValueError, match=r"neftune_noise_alpha=5.0: expected a model with get_input_embeddings\(\)"),
        noisy_embeddings(nn.Linear(1, 1), 5.0),
    ):
        pass
