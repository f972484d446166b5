from __future__ import annotations

import pytest
import torch

from lt_trainer.models.bert import BertConfig
from lt_trainer.models.checks import check_ids, check_labels
from lt_trainer.packed import pack

CONFIG = BertConfig(vocab_size=50, max_position_embeddings=8, type_vocab_size=2)


def test_the_last_id_position_and_type_are_allowed() -> None:
    check_ids(pack(torch.full((2, 8), 49), token_type_ids_BT=torch.ones(2, 8, dtype=torch.long)), CONFIG)


@pytest.mark.parametrize("wrong", [50, -1])
def test_an_id_beyond_the_vocabulary_names_row_id_and_size(wrong: int) -> None:
    ids = torch.tensor([[1, 2, 3], [4, 5, wrong]])
    with pytest.raises(ValueError, match=f"row 1 .* token id {wrong}, but the model's vocab_size is 50"):
        check_ids(pack(ids), CONFIG)


def test_an_id_at_a_pad_position_is_nobodys_business() -> None:
    check_ids(pack(torch.tensor([[1, 999]]), torch.tensor([[1, 0]])), CONFIG)


def test_a_row_longer_than_the_position_table_says_how_to_truncate() -> None:
    with pytest.raises(ValueError, match=r"row 0 .* position 8, .* is 8: tokenize with truncation=True, max_length=8"):
        check_ids(pack(torch.ones(1, 9, dtype=torch.long)), CONFIG)


def test_padding_may_be_longer_than_the_position_table() -> None:
    mask = torch.zeros(1, 20, dtype=torch.long)
    mask[0, :5] = 1
    check_ids(pack(mask, mask), CONFIG)


def test_a_token_type_beyond_its_table_is_named() -> None:
    ids = torch.ones(1, 3, dtype=torch.long)
    with pytest.raises(ValueError, match="holds type 2, but the model's type_vocab_size is 2"):
        check_ids(pack(ids, token_type_ids_BT=ids * 2), CONFIG)


def test_labels_outside_the_classes_name_row_value_and_remedy() -> None:
    check_labels(torch.tensor([0, 2, -100]), 3)
    with pytest.raises(
        ValueError, match=r"expected 0..2 .*, received 3 in row 1 of the batch: give the model num_labels=4"
    ):
        check_labels(torch.tensor([[0, 1], [2, 3]]), 3)
    with pytest.raises(ValueError, match="received -1 in row 0"):
        check_labels(torch.tensor([-1]), 3)
