from __future__ import annotations

import pickle

import pytest
import torch

from lt_trainer.packed import alike, join, join_inputs, pack, select_rows, spread_rows, take, unpack

IDS = torch.tensor([[11, 12, 13, 0], [21, 0, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]])


def test_right_padding_leaves_row_after_row() -> None:
    packed = pack(IDS, MASK)
    assert packed.input_ids_N.tolist() == [11, 12, 13, 21]
    assert packed.position_ids_N.tolist() == [0, 1, 2, 0]
    assert packed.index_N.tolist() == [0, 1, 2, 4]
    assert packed.lengths == (3, 1)
    assert packed.padded_shape == (2, 4)
    assert packed.num_tokens == 4
    assert packed.starts == (0, 3)


def test_left_padding_and_holes_keep_their_columns_as_positions() -> None:
    packed = pack(IDS, torch.tensor([[0, 1, 0, 1], [0, 0, 0, 1]]))
    assert packed.input_ids_N.tolist() == [12, 0, 0]
    assert packed.position_ids_N.tolist() == [1, 3, 3]
    assert packed.lengths == (2, 1)


def test_without_a_mask_every_token_is_real() -> None:
    packed = pack(IDS)
    assert packed.lengths == (4, 4)
    assert packed.input_ids_N.tolist() == IDS.flatten().tolist()


@pytest.mark.parametrize("kind", [torch.bool, torch.float32, torch.int32])
def test_a_mask_of_any_type_means_the_same(kind: torch.dtype) -> None:
    assert pack(IDS, MASK.to(kind)).lengths == (3, 1)


def test_given_positions_and_types_are_packed_beside_the_ids() -> None:
    packed = pack(IDS, MASK, token_type_ids_BT=MASK * 5, position_ids_BT=torch.tensor([[7, 8, 9, 10]]))
    assert packed.position_ids_N.tolist() == [7, 8, 9, 7]
    assert packed.token_type_ids_N is not None
    assert packed.token_type_ids_N.tolist() == [5, 5, 5, 5]


def test_unpack_puts_values_back_and_fills_the_rest() -> None:
    packed = pack(IDS, MASK)
    assert unpack(take(IDS, packed), packed, fill=-1).tolist() == [[11, 12, 13, -1], [21, -1, -1, -1]]


def test_unpack_passes_the_gradient_of_real_tokens_alone() -> None:
    packed = pack(IDS, MASK)
    x_ND = torch.zeros(4, 2, requires_grad=True)
    weight_BTD = torch.arange(16.0).view(2, 4, 2)
    (unpack(x_ND, packed) * weight_BTD).sum().backward()
    assert x_ND.grad is not None
    assert x_ND.grad.tolist() == take(weight_BTD, packed).tolist()


def test_reading_marks_positions_row_by_row() -> None:
    read = pack(IDS, MASK).reading(torch.tensor([False, True, True, False])).read
    assert read is not None
    assert read.index_R.tolist() == [1, 2]
    assert read.lengths == (2, 0)


def test_first_is_the_first_real_token_of_each_row() -> None:
    first = pack(IDS, torch.tensor([[0, 1, 1, 1], [0, 0, 1, 1]])).first()
    assert first.index_R.tolist() == [0, 3]
    assert first.lengths == (1, 1)


def test_a_row_without_a_token_is_refused_by_number() -> None:
    with pytest.raises(ValueError, match=r"received row 1 of \(2, 4\) with zeros alone: leave that row out"):
        pack(IDS, torch.tensor([[1, 1, 1, 1], [0, 0, 0, 0]]))


def test_shapes_that_do_not_fit_are_refused_with_both_shapes() -> None:
    with pytest.raises(ValueError, match=r"attention_mask: expected .*\(2, 4\), received \(2, 3\)"):
        pack(IDS, MASK[:, :3])
    with pytest.raises(ValueError, match=r"input_ids: expected the shape \(rows, length\), received \(4,\)"):
        pack(IDS[0])


def test_moving_and_pickling_keep_everything() -> None:
    packed = pack(IDS, MASK, token_type_ids_BT=MASK).reading(torch.tensor([True, False, False, True]))
    for copy in (packed.to("cpu"), pickle.loads(pickle.dumps(packed))):
        assert copy.lengths == packed.lengths
        assert torch.equal(copy.input_ids_N, packed.input_ids_N)
        assert copy.token_type_ids_N is not None
        assert copy.read is not None
        assert copy.read.index_R.tolist() == [0, 3]


def test_moving_to_another_device_moves_every_tensor() -> None:
    moved = pack(IDS, MASK, token_type_ids_BT=MASK).reading(torch.ones(4, dtype=torch.bool)).to("meta")
    assert moved.read is not None
    tensors = [moved.input_ids_N, moved.position_ids_N, moved.index_N, moved.token_type_ids_N, moved.read.index_R]
    assert {tensor.device.type for tensor in tensors if tensor is not None} == {"meta"}


def test_select_rows_has_the_gradient_of_indexing() -> None:
    x = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    index = torch.tensor([4, 0, 2])
    assert torch.equal(select_rows(x, index), x[index])
    assert torch.autograd.gradcheck(lambda x: select_rows(x, index), (x,))


def test_spread_rows_takes_its_gradient_from_the_slots_that_are_meant() -> None:
    x = torch.tensor([[1.0], [2.0]], requires_grad=True)
    spread = spread_rows(x, torch.tensor([0, 0, 1, 0]), torch.tensor([1, 2]))
    assert spread.flatten().tolist() == [1, 1, 2, 1]
    (spread.flatten() * torch.tensor([10.0, 20.0, 30.0, 40.0])).sum().backward()
    assert x.grad is not None
    assert x.grad.flatten().tolist() == [20, 30]


# --- several texts in a row -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("positions", "lengths"),
    [
        ([[0, 1, 0, 1, 2, 0]], (2, 3, 1)),
        ([[0, 1, 2], [0, 0, 1]], (3, 1, 2)),
        ([[5, 6, 0, 1]], (2, 2)),  # the rest of a longer text stands first
        ([[2, 3, 2, 3]], (2, 2)),  # a RoBERTa counts from 2
        ([[0, 1, 2, 3]], (4,)),
        ([[3, 2, 1, 0]], (4,)),  # a permutation
        ([[0, 5, 6, 7]], (4,)),  # a gap
    ],
)
def test_positions_that_begin_anew_begin_another_text(positions, lengths):
    ids = torch.arange(torch.tensor(positions).numel()).view(torch.tensor(positions).shape)
    packed = pack(ids, position_ids_BT=torch.tensor(positions))
    assert packed.lengths == lengths
    assert packed.padded_shape == tuple(ids.shape)
    assert torch.equal(unpack(packed.input_ids_N, packed), ids)
    assert pack(ids, torch.ones_like(ids), position_ids_BT=torch.tensor(positions)).lengths == lengths


@pytest.mark.parametrize("mask", [[[1, 1, 1, 1, 0], [1, 1, 1, 0, 0]], [[0, 1, 1, 1, 1], [0, 0, 1, 1, 1]]])
def test_texts_of_padded_rows_are_told_by_real_tokens_alone(mask):
    mask = torch.tensor(mask)
    positions = torch.zeros_like(mask)
    positions[mask == 1] = torch.tensor([0, 1, 0, 1, 0, 1, 2])
    assert pack(torch.ones_like(mask), mask, position_ids_BT=positions).lengths == (2, 2, 3)


def test_columns_with_holes_say_nothing_about_texts():
    mask = torch.tensor([[1, 1, 0, 1], [1, 0, 0, 1]])
    assert pack(torch.ones_like(mask), mask, position_ids_BT=torch.arange(4)[None]).lengths == (3, 2)


def test_joined_batches_are_the_batch_of_all_rows() -> None:
    first = pack(IDS, MASK, token_type_ids_BT=MASK)
    second = pack(torch.tensor([[31, 32], [0, 41]]), torch.tensor([[1, 1], [0, 1]]), torch.tensor([[0, 1], [0, 1]]))
    ids = torch.tensor([[11, 12, 13, 0], [21, 0, 0, 0], [31, 32, 0, 0], [0, 41, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0]])
    types = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0]])
    joined, whole = join([first, second]), pack(ids, mask, types)
    assert (joined.lengths, joined.padded_shape) == (whole.lengths, whole.padded_shape)
    for name in ("input_ids_N", "position_ids_N", "index_N", "token_type_ids_N"):
        assert torch.equal(getattr(joined, name), getattr(whole, name)), name


def test_joined_batches_are_read_where_each_was() -> None:
    batch = pack(IDS, MASK).reading(torch.tensor([False, True, False, True]))
    joined = join([batch, batch])
    assert joined.read is not None
    assert joined.read.index_R.tolist() == [1, 3, 5, 7]
    assert joined.read.lengths == (1, 1, 1, 1)


def test_inputs_are_alike_where_their_rows_are() -> None:
    batch = {"packed": pack(IDS, MASK), "labels": torch.zeros(2)}
    assert alike(batch, {"packed": pack(IDS), "labels": torch.zeros(5)})
    assert not alike(batch, {"packed": pack(IDS), "labels": torch.zeros(5, 1)})
    assert not alike(batch, {"packed": pack(IDS, MASK, MASK), "labels": torch.zeros(2)})
    assert not alike(batch, {"packed": pack(IDS, MASK)})
    assert not alike({"names": "a"}, {"names": "a"})


def test_joined_inputs_hold_the_labels_one_after_the_other() -> None:
    batch = {"packed": pack(IDS, MASK), "labels": torch.tensor([1, 2])}
    joined = join_inputs([batch, {**batch, "labels": torch.tensor([3])}])
    assert joined["labels"].tolist() == [1, 2, 3]
    assert joined["packed"].lengths == (3, 1, 3, 1)
