from __future__ import annotations

import numpy as np
import pytest
import torch

from lt_trainer.tokenization.decoding import clean_up_tokenization


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("tidy", [True, False, None])
def test_decoding_equals_transformers(ours, theirs, texts, skip, tidy):
    rows = ours(texts)["input_ids"]
    kwargs = {"skip_special_tokens": skip, "clean_up_tokenization_spaces": tidy}
    assert ours.batch_decode(rows, **kwargs) == theirs.batch_decode(rows, **kwargs)
    assert ours.decode(rows[0], **kwargs) == theirs.decode(rows[0], **kwargs)
    assert ours.decode(rows, **kwargs) == theirs.decode(rows, **kwargs)


@pytest.mark.parametrize("form", [list, np.array, torch.tensor])
def test_ids_may_be_lists_arrays_or_tensors(words_only, form):
    assert words_only.decode(form([5, 7]), skip_special_tokens=True) == "good film"
    assert words_only.batch_decode(form([[5, 7], [6, 7]])) == ["good film", "bad film"]
    assert words_only.batch_decode([form([5]), form([6, 7])]) == ["good", "bad film"]


def test_one_id_and_a_batch_of_a_call(words_only):
    assert words_only.decode(5) == "good"
    assert words_only.decode(words_only("good film"), skip_special_tokens=True) == "good film"
    assert words_only.batch_decode([5, 7]) == ["good film"]


def test_spaces_of_wordpieces_are_tidied():
    assert clean_up_tokenization("do n't . it 's , i 'm ! we 've they 're ?") == "don't. it's, i'm! we've they're?"


def test_a_label_that_is_no_id_is_named(words_only):
    with pytest.raises(ValueError, match=r"token_ids\[1\]=-100: .*pad_token_id where labels hold -100"):
        words_only.decode([5, -100])
