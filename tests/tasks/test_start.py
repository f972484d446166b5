from __future__ import annotations

import pytest
import torch

from lt_trainer import AutoModelForSequenceClassification
from lt_trainer.tasks.start import start_model

HEAD = AutoModelForSequenceClassification


def test_a_model_is_loaded_with_the_names_of_the_data(tiny_bert):
    model = start_model(str(tiny_bert()), HEAD, label_names=["no", "yes", "perhaps"])
    assert model.config.id2label == {0: "no", 1: "yes", 2: "perhaps"}
    assert model.config.label2id["perhaps"] == 2


def test_without_names_the_folder_says(tiny_bert):
    assert start_model(str(tiny_bert(head="sequence", num_labels=4)), HEAD, num_labels=None).config.num_labels == 4


def test_a_model_from_scratch_has_the_tokens_of_the_data():
    model = start_model("scratch", HEAD, vocab_size=50, label_names=["a", "b"])
    assert model.get_input_embeddings().num_embeddings == 50
    assert model(input_ids=torch.tensor([[1, 2]])).logits.shape == (1, 2)


def test_a_model_from_scratch_needs_their_number():
    with pytest.raises(ValueError, match=r"model='scratch': expected vocab_size, .*give vocab_size=data.vocab_size"):
        start_model("scratch", HEAD)


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(tiny_bert):
    folder = str(tiny_bert())
    size = start_model(folder, HEAD).config.vocab_size
    for model in (folder, start_model(folder, HEAD)):
        with pytest.raises(
            ValueError, match=rf"it has {size + 1} tokens, expected at most {size}, the embeddings of {folder}"
        ):
            start_model(model, HEAD, vocab_size=size + 1)
    assert start_model(folder, HEAD, vocab_size=size - 1).config.vocab_size == size
