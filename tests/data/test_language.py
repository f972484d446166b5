"""Collators for language models: equal to those of `transformers`, draw for draw."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

import lt_trainer
from lt_trainer import (
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    DataCollatorForPermutationLanguageModeling,
    DataCollatorForWholeWordMask,
    DataCollatorWithFlattening,
)
from lt_trainer.data.draws import drawing

TEXTS = ["a good film", "the plot was dull and never very slow", "unseen words", "great", "it is not bad, it is one"]
KINDS = ["pt", "np"]


@pytest.fixture
def folder(tiny_bert):
    return str(tiny_bert())


@pytest.fixture
def tokenizer(folder):
    return AutoTokenizer.from_pretrained(folder)


def rows_of(tokenizer, **options):
    return [dict(tokenizer(text, **options)) for text in TEXTS]


def same(ours, theirs):
    assert list(ours) == list(theirs)
    for name, expected in theirs.items():
        if isinstance(expected, int):
            assert ours[name] == expected
            continue
        assert type(ours[name]) is type(expected), name
        assert ours[name].dtype == expected.dtype, name
        assert ours[name].tolist() == expected.tolist(), name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mlm_probability": 0.4, "mask_replace_prob": 0.5, "random_replace_prob": 0.3},
        {"mlm_probability": 1.0, "mask_replace_prob": 0.0, "random_replace_prob": 1.0},
        {"mask_replace_prob": 1.0, "random_replace_prob": 0.0, "pad_to_multiple_of": 8},
        {"mlm": False},
        {"mlm": False, "pad_to_multiple_of": 8},
    ],
    ids=str,
)
@pytest.mark.parametrize("seed", [7, None])
def test_batches_equal_those_of_transformers_draw_for_draw(folder, tokenizer, kind, side, options, seed):
    transformers = pytest.importorskip("transformers")
    results = []
    for library, own in ((lt_trainer, tokenizer), (transformers, transformers.AutoTokenizer.from_pretrained(folder))):
        own.padding_side = side
        collate = library.DataCollatorForLanguageModeling(own, seed=seed, return_tensors=kind, **options)
        torch.manual_seed(3)
        np.random.seed(3)
        batches = [collate(rows_of(own, return_special_tokens_mask=marked)) for marked in (False, True, False)]
        batches += [collate([row["input_ids"] for row in rows_of(own)])]
        batches += [collate([torch.tensor(row["input_ids"]) for row in rows_of(own)])] if kind == "pt" else []
        results.append(batches)
    for ours, theirs in zip(*results, strict=True):
        same(ours, theirs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore:Random token replacement")
def test_whole_words_equal_those_of_transformers(folder, tokenizer, kind):
    transformers = pytest.importorskip("transformers")
    results = []
    for library, own in ((lt_trainer, tokenizer), (transformers, transformers.AutoTokenizer.from_pretrained(folder))):
        collate = library.DataCollatorForLanguageModeling(
            own, whole_word_mask=True, mlm_probability=0.5, seed=1, return_tensors=kind
        )
        encoded = own(TEXTS * 3, return_offsets_mapping=True, padding=True)
        rows = [{name: encoded[name][i] for name in encoded} for i in range(len(TEXTS) * 3)]
        results.append([collate(rows) for _ in range(2)])
    for ours, theirs in zip(*results, strict=True):
        same(ours, theirs)
    pieces = (torch.as_tensor(results[0][0]["labels"]) != -100).sum()
    assert pieces > 20


def test_whole_words_of_ragged_rows_are_guessed_whole(tokenizer):
    collate = DataCollatorForWholeWordMask(tokenizer, mlm_probability=0.5, seed=1)
    rows = rows_of(tokenizer, return_offsets_mapping=True)
    words = [tokenizer(text).word_ids() for text in TEXTS]
    labels = collate(rows)["labels"].tolist()
    spaces = [set(), set(), set(), set(), set()]
    for row, (marks, owners) in enumerate(zip(labels, words, strict=True)):
        for word in {owner for owner in owners if owner is not None}:
            states = {marks[i] != -100 for i, owner in enumerate(owners) if owner == word}
            assert len(states) == 1
            spaces[row] |= states
    assert {True, False} <= set.union(*spaces)


def test_whole_words_without_offsets_say_what_is_missing(tokenizer):
    with pytest.raises(ValueError, match="return_offsets_mapping=True"):
        DataCollatorForWholeWordMask(tokenizer)(rows_of(tokenizer))


def test_rows_of_one_length_need_no_pad_token(tokenizer):
    tokenizer.pad_token = None
    batch = DataCollatorForLanguageModeling(tokenizer, mlm=False)([{"input_ids": [5, 6]}, {"input_ids": [7, 8]}])
    assert batch["labels"].tolist() == [[5, 6], [7, 8]]


def test_all_that_is_wrong_is_said_at_once(tokenizer):
    tokenizer.mask_token = None
    with pytest.raises(ValueError, match=r"mask_replace_prob=-1: .*mlm_probability=1.5: .*mask token") as caught:
        DataCollatorForLanguageModeling(tokenizer, mlm_probability=1.5, mask_replace_prob=-1)
    assert str(caught.value).count(";") >= 2
    with pytest.raises(ValueError, match="expected 1 at most"):
        DataCollatorForLanguageModeling(tokenizer, mlm=False, mask_replace_prob=0.8, random_replace_prob=0.3)
    with pytest.raises(ValueError, match="mlm=True: nothing is masked"):
        DataCollatorForLanguageModeling(tokenizer, mlm=False, whole_word_mask=True)


def test_draws_in_a_loop_go_by_the_step_and_not_by_what_was_drawn_before(tokenizer):
    collate = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.5, seed=1)
    rows = rows_of(tokenizer)

    def at(step):
        with drawing(step, 0):
            return collate(rows)["labels"].tolist()

    first, second = at(1), at(2)
    assert first != second
    assert (at(2), at(1)) == (second, first)


def test_workers_get_a_copy(tokenizer):
    collate = pickle.loads(pickle.dumps(DataCollatorForLanguageModeling(tokenizer, seed=1)))
    same(collate(rows_of(tokenizer)), DataCollatorForLanguageModeling(tokenizer, seed=1)(rows_of(tokenizer)))


# --- flattening -------------------------------------------------------------------------------------------------------

FLAT = [{"input_ids": [1, 2, 3]}, {"input_ids": [4, 5]}, {"input_ids": [6]}]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"return_position_ids": False},
        {"separator_id": -1, "position_ids_start": 2},
        {"return_seq_idx": True, "return_flash_attn_kwargs": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("labelled", [False, True])
def test_flattened_batches_equal_those_of_transformers(kind, options, labelled):
    theirs = pytest.importorskip("transformers").DataCollatorWithFlattening
    rows = [{**row, **({"labels": [9] * len(row["input_ids"])} if labelled else {})} for row in FLAT]
    same(DataCollatorWithFlattening(kind, **options)(rows), theirs(kind, **options)(rows))
    own = [{name: torch.tensor(values) for name, values in row.items()} for row in rows]
    same(DataCollatorWithFlattening(**options)(own, "np"), theirs(**options)(own, "np"))


def test_xlnets_collator_says_where_it_is():
    with pytest.raises(NotImplementedError, match="from transformers"):
        DataCollatorForPermutationLanguageModeling(None)
