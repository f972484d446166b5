"""Chats as training data: what the assistant says is the target, and nothing else."""

from __future__ import annotations

import pytest
from datasets import Dataset

from lt_trainer import CausalLMData
from tests.tasks.language import TEMPLATE, byte_tokenizer


@pytest.fixture
def tokenizer():
    return byte_tokenizer()


def data_for(tokenizer, rows, split="train", **options):
    data = CausalLMData(tokenizer, **{split: rows, "block_size": 32, **options})
    data.setup()
    return data


CHAT = [
    {"role": "user", "content": "who?"},
    {"role": "assistant", "content": "the cat"},
    {"role": "user", "content": "and?"},
    {"role": "assistant", "content": "a dog"},
]


@pytest.fixture
def chatty():
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def chats(*messages):
    return Dataset.from_dict({"messages": list(messages)})


def test_what_the_assistant_says_is_the_target_to_the_end_of_its_turn(chatty):
    data = data_for(chatty, chats(CHAT), packing="none", block_size=64)
    row = data.train_dataset[0]
    assert chatty.decode(row["input_ids"]) == ("<user>who?<assistant>the cat<|end|><user>and?<assistant>a dog<|end|>")
    assert chatty.decode([label for label in row["labels"] if label != -100]) == "the cat<|end|>a dog<|end|>"


def test_chats_without_template_answer_or_form_are_named_by_their_row(tokenizer, chatty):
    with pytest.raises(ValueError, match=r"train, row 0: a chat needs a template"):
        data_for(tokenizer, chats(CHAT))
    with pytest.raises(ValueError, match=r"train, row 1: expected a message with role 'assistant'.*\['user'\]"):
        data_for(chatty, chats(CHAT, CHAT[:1]), block_size=64)
    with pytest.raises(ValueError, match=r"train, row 0: expected messages"):
        data_for(chatty, chats([{"role": "user", "text": "a"}]))
    chatty.chat_template = "{{ messages | length }}" + TEMPLATE
    with pytest.raises(ValueError, match=r"writes message 1 in another way"):
        data_for(chatty, chats(CHAT), block_size=64)


def test_a_chat_that_waits_for_an_answer_may_be_gone_on_with(chatty):
    data = data_for(chatty, chats(CHAT[:3]), split="test", block_size=64)
    row = data.test_dataset[0]
    assert chatty.decode(row["input_ids"]).endswith("<user>and?<assistant>")
    assert set(row["labels"]) == {-100}
