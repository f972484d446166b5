from __future__ import annotations

import copy
import pickle

import pytest
import torch

from lt_trainer.tokenization import BatchEncoding, CharSpan, TokenSpan


def test_columns_are_attributes_keys_and_items(words_only):
    batch = words_only(["good film"])
    assert batch.input_ids is batch["input_ids"]
    assert dict(**batch) == dict(batch.items())
    assert batch[0].tokens == ["[CLS]", "good", "film", "[SEP]"]
    assert "labels" not in batch
    assert len(batch) == 3


def test_a_missing_column_names_those_that_exist(words_only):
    with pytest.raises(AttributeError, match="'labels'; columns: input_ids, token_type_ids, attention_mask"):
        _ = words_only("good").labels


def test_spans_by_hand(words_only):
    batch = words_only("good playing")
    assert batch.tokens() == ["[CLS]", "good", "play", "##ing", "[SEP]"]
    assert batch.char_to_token(5) == 2
    assert batch.char_to_token(4) is None  # the space
    assert batch.token_to_chars(3) == CharSpan(9, 12)
    assert batch.token_to_chars(0) is None
    assert batch.token_to_chars(0, -2) == CharSpan(9, 12)
    assert batch.word_to_tokens(1) == TokenSpan(2, 4)
    assert batch.word_to_tokens(0, -1) == TokenSpan(2, 4)
    assert batch.word_to_chars(1) == CharSpan(5, 12)
    assert batch.char_to_word(0, 6) == 1
    assert batch.token_to_word(3) == 1
    assert batch.token_to_sequence(1) == 0


def test_spans_equal_transformers(ours, theirs, texts):
    mine, peer = ours(texts[:2], texts[2:4]), theirs(texts[:2], texts[2:4])
    for row in range(2):
        for token in range(1, len(mine["input_ids"][row]) - 1):
            assert mine.token_to_word(row, token) == peer.token_to_word(row, token)
            assert mine.token_to_sequence(row, token) == peer.token_to_sequence(row, token)
            assert (mine.token_to_chars(row, token) or ()) == (peer.token_to_chars(row, token) or ())
        for char in range(20):
            for sequence in range(2):
                assert mine.char_to_token(row, char, sequence) == peer.char_to_token(row, char, sequence)
                assert mine.char_to_word(row, char, sequence) == peer.char_to_word(row, char, sequence)
        for word in range(4):
            assert mine.word_to_tokens(row, word, 1) == peer.word_to_tokens(row, word, 1)
            assert mine.word_to_chars(row, word, 1) == peer.word_to_chars(row, word, 1)


def test_rows_without_a_tokenizer_have_no_words():
    batch = BatchEncoding({"input_ids": [[1, 2]]})
    assert not batch.is_fast
    assert batch[0:1] == {"input_ids": [[1, 2]]}
    with pytest.raises(ValueError, match="words are not known"):
        batch.word_ids(0)
    with pytest.raises(KeyError, match="input_ids"):
        batch[0]


def test_copies_and_pickles_keep_words(words_only):
    batch = words_only(["good playing"], ["film"])
    for twin in (pickle.loads(pickle.dumps(batch)), copy.deepcopy(batch), copy.copy(batch)):
        assert dict(twin) == dict(batch)
        assert twin.word_ids(0) == batch.word_ids(0)
        assert twin.n_sequences == 2


def test_tensors_move_and_lists_stay():
    batch = BatchEncoding({"input_ids": torch.ones(1, 2, dtype=torch.long), "names": ["a"]}).to("meta")
    assert batch["input_ids"].device.type == "meta"
    assert batch["names"] == ["a"]


def test_a_batch_is_not_cast():
    with pytest.raises(TypeError, match=r"device=torch.float16"):
        BatchEncoding({"input_ids": torch.ones(1, 2)}).to(torch.float16)


def test_floats_become_float32_and_arrays_keep_their_type():
    import numpy as np

    batch = BatchEncoding({"a": [[0.5]], "b": np.zeros((1, 1)), "c": [[1]], "d": [True], "e": [[]]}, tensor_type="pt")
    assert [batch[name].dtype for name in "abcde"] == [
        torch.float32,
        torch.float64,
        torch.int64,
        torch.bool,
        torch.int64,
    ]


def test_text_cannot_become_a_tensor():
    with pytest.raises(ValueError, match=r"column 'names' holds str.*'a'.*remove the column"):
        BatchEncoding({"names": ["a"]}, tensor_type="pt")


def test_prepend_batch_axis():
    assert BatchEncoding({"a": [1, 2]}, tensor_type="pt", prepend_batch_axis=True)["a"].shape == (1, 2)
