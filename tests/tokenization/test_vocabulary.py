from __future__ import annotations

import pytest
from tokenizers import AddedToken

SPECIAL = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")


def test_tokens_and_ids_by_hand(words_only):
    assert words_only.convert_tokens_to_ids("film") == 7
    assert words_only.convert_tokens_to_ids(["good", "nothing"]) == [5, 1]
    assert words_only.convert_ids_to_tokens(8) == "play"
    assert words_only.convert_ids_to_tokens([2, 5, 3], skip_special_tokens=True) == ["good"]
    assert words_only.convert_tokens_to_string(["play", "##ing"]) == "playing"
    assert words_only.vocab_size == len(words_only) == 11
    assert words_only.get_vocab()["##ing"] == words_only.vocab["##ing"] == 9


def test_special_tokens_by_hand(words_only):
    assert words_only.pad_token == "[PAD]"
    assert (words_only.unk_token_id, words_only.cls_token_id, words_only.mask_token_id) == (1, 2, 4)
    assert words_only.bos_token is None
    assert words_only.bos_token_id is None
    assert words_only.all_special_tokens == ["[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"]
    assert words_only.all_special_ids == [1, 3, 0, 2, 4]


def test_special_tokens_equal_transformers(ours, theirs):
    assert len(ours) == len(theirs)
    assert ours.vocab_size == theirs.vocab_size
    assert ours.get_vocab() == theirs.get_vocab()
    assert ours.get_added_vocab() == theirs.get_added_vocab()
    for name in SPECIAL:
        assert getattr(ours, f"{name}_token") == getattr(theirs, f"{name}_token"), name
        assert getattr(ours, f"{name}_token_id") == getattr(theirs, f"{name}_token_id"), name
    assert ours.special_tokens_map == theirs.special_tokens_map
    assert ours.all_special_tokens == theirs.all_special_tokens
    assert ours.all_special_ids == theirs.all_special_ids
    for pair in (False, True):
        assert ours.num_special_tokens_to_add(pair) == theirs.num_special_tokens_to_add(pair)
    assert ours.model_input_names == theirs.model_input_names
    assert ours.model_max_length == theirs.model_max_length
    assert ours.max_len_single_sentence == theirs.max_len_single_sentence


def test_added_tokens_equal_transformers(ours, theirs, texts):
    for tokenizer in (ours, theirs):
        assert tokenizer.add_tokens(["goodfilm", AddedToken("xyz", single_word=True)]) == 2
        assert tokenizer.add_tokens("goodfilm") == 0
        assert tokenizer.add_special_tokens({"cls_token": "<cls>", "extra_special_tokens": ["<x>", "<y>"]}) == 3
    rows = ["a goodfilm xyz <x> <cls>", *texts]
    assert ours(rows)["input_ids"] == theirs(rows)["input_ids"]
    assert len(ours) == len(theirs)
    assert ours.cls_token_id == theirs.cls_token_id
    assert ours.extra_special_tokens == theirs.extra_special_tokens
    assert ours.all_special_tokens == theirs.all_special_tokens
    ids = ours(rows[0])["input_ids"]
    assert ours.decode(ids, skip_special_tokens=True) == theirs.decode(ids, skip_special_tokens=True)


def test_extra_special_tokens_are_replaced_or_extended(words_only):
    words_only.add_special_tokens({"extra_special_tokens": ["<a>"]})
    words_only.add_special_tokens({"additional_special_tokens": ["<b>"]}, replace_extra_special_tokens=False)
    assert words_only.additional_special_tokens == ["<a>", "<b>"]
    words_only.add_special_tokens({"extra_special_tokens": ["<c>"]})
    assert words_only.extra_special_tokens == ["<c>"]


def test_a_special_token_can_be_set_by_token_and_by_id(words_only):
    words_only.eos_token = "[SEP]"
    assert words_only.eos_token_id == 3
    words_only.bos_token_id = 2
    assert words_only.bos_token == "[CLS]"
    words_only.bos_token = None
    assert "bos_token" not in words_only.special_tokens_map


def test_a_special_token_that_is_none_is_refused(words_only):
    with pytest.raises(ValueError, match="pad_token_id=99: the vocabulary has no token with this id"):
        words_only.pad_token_id = 99
    with pytest.raises(TypeError, match="pad_token=3: expected a token"):
        words_only.pad_token = 3
    with pytest.raises(ValueError, match=r"padding_token='x': expected a token .* under one of bos_token"):
        words_only.add_special_tokens({"padding_token": "x"})
    with pytest.raises(ValueError, match="extra_special_tokens='x': expected a list"):
        words_only.add_special_tokens({"extra_special_tokens": "x"})


def test_rows_are_built_from_ids(words_only):
    assert words_only.build_inputs_with_special_tokens([5, 7]) == [2, 5, 7, 3]
    assert words_only.build_inputs_with_special_tokens([5], [6, 7]) == [2, 5, 3, 6, 7, 3]
    assert words_only.create_token_type_ids_from_sequences([5], [6, 7]) == [0, 0, 0, 1, 1, 1]
    assert words_only.get_special_tokens_mask([5], [6, 7]) == [1, 0, 1, 0, 0, 1]
    assert words_only.get_special_tokens_mask([2, 5, 3], already_has_special_tokens=True) == [1, 0, 1]


def test_built_rows_equal_encoded_ones(ours, texts):
    first, second = (ours(text, add_special_tokens=False)["input_ids"] for text in texts[:2])
    assert ours.build_inputs_with_special_tokens(first) == ours(texts[0])["input_ids"]
    pair = ours(texts[0], texts[1], return_token_type_ids=True, return_special_tokens_mask=True)
    assert ours.build_inputs_with_special_tokens(first, second) == pair["input_ids"]
    assert ours.create_token_type_ids_from_sequences(first, second) == pair["token_type_ids"]
    assert ours.get_special_tokens_mask(first, second) == pair["special_tokens_mask"]


def test_a_tokenizer_is_true_and_says_what_it_is(words_only):
    assert words_only
    assert words_only.is_fast
    assert "vocab_size=11" in repr(words_only)


def test_ids_may_be_arrays_and_scalars_of_arrays(words_only):
    import numpy as np

    assert words_only.convert_ids_to_tokens(np.int64(5)) == "good"
    assert words_only.convert_ids_to_tokens(np.array([5, 7])) == ["good", "film"]
