"""What a model returned, for native models, for those of `transformers` and for any module."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from lt_trainer import AutoModelForSequenceClassification
from lt_trainer.objective import count_targets, loss_of, model_loss, predictions_of


class Constant(nn.Module):
    """A module of another library: the mean over its targets is 3."""

    def forward(self, x: torch.Tensor, labels: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        return {"loss": torch.tensor(3.0), "logits": x}


class ToyForCausalLM(Constant):
    """Known by its name, as the models of `transformers` are."""


class Output(dict[str, Any]):
    """Mapping and tuple at once, as `transformers` has them."""


@pytest.fixture
def native(tiny_bert):
    return AutoModelForSequenceClassification.from_pretrained(tiny_bert(head="masked"), num_labels=2).eval()


def batch_of(labels: Any, rows: int = 2) -> dict[str, torch.Tensor]:
    return {"x": torch.zeros(rows, 3), "labels": torch.tensor(labels)}


# --- counting ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([0, 1], 2),
        ([0, -100], 1),
        ([[1, 2, -100], [3, -100, -100]], 3),
        ([0.5, -100.0], 2),
        ([[0.0, 1.0, 1.0], [0.0, 0.0, 1.0]], 6),
    ],
)
def test_targets_are_labels_that_are_not_ignored(labels: Any, expected: int) -> None:
    assert count_targets(Constant(), batch_of(labels)) == expected


def test_a_causal_model_predicts_no_first_token() -> None:
    assert count_targets(ToyForCausalLM(), batch_of([[1, 2, 3], [4, 5, -100]])) == 3


def test_rows_of_classes_are_not_shifted_for_a_causal_name() -> None:
    assert count_targets(ToyForCausalLM(), batch_of([1, 0])) == 2


def test_an_answers_start_is_its_target() -> None:
    batch = {"x": torch.zeros(3, 2), "start_positions": torch.tensor([1, 2, 0])}
    assert count_targets(Constant(), batch) == 3


def test_without_labels_rows_are_counted() -> None:
    assert count_targets(Constant(), {"x": torch.zeros(3, 2)}) == 3


def test_a_native_model_counts_by_itself(native: Any) -> None:
    batch = {"input_ids": torch.tensor([[2, 5, 3], [2, 6, 3]]), "labels": torch.tensor([1, -100])}
    assert count_targets(native, batch) == native.count_targets(batch) == 1


# --- loss -------------------------------------------------------------------------------------------------------------


def test_a_foreign_mean_is_weighed_by_its_share_of_the_step() -> None:
    loss, _ = model_loss(Constant(), batch_of([0, 1]), torch.tensor(8))
    assert loss.item() == 3.0 * 2 / 8


def test_a_foreign_mean_stays_where_no_step_is_known() -> None:
    loss, outputs = model_loss(Constant(), batch_of([0, 1]), None)
    assert loss.item() == 3.0
    assert outputs["logits"].shape == (2, 3)


def test_a_foreign_batch_without_targets_adds_nothing_and_gives_every_parameter_a_gradient() -> None:
    class Linear(nn.Linear):
        def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:  # type: ignore[override]
            return {"loss": nn.functional.cross_entropy(super().forward(x), labels)}

    model = Linear(3, 2)
    loss, _ = model_loss(model, batch_of([-100, -100]), torch.tensor(8))
    loss.backward()
    assert loss.item() == 0.0
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())


def test_a_native_model_divides_by_the_targets_of_the_step(native: Any) -> None:
    batch = {"input_ids": torch.tensor([[2, 5, 3], [2, 6, 3]]), "labels": torch.tensor([1, 0])}
    mean, _ = model_loss(native, batch, None)
    part, _ = model_loss(native, batch, torch.tensor(8))
    assert part.item() == pytest.approx(mean.item() * 2 / 8)


@pytest.mark.parametrize("outputs", [{"loss": torch.tensor(2.0)}, (torch.tensor(2.0), torch.zeros(3))])
def test_the_loss_is_named_or_comes_first(outputs: Any) -> None:
    assert loss_of(outputs).item() == 2.0


@pytest.mark.parametrize(
    ("outputs", "received"),
    [
        ({"logits": torch.zeros(2)}, r"\['logits'\]"),
        ({"loss": None}, r"\['loss'\]"),
        ({"loss": torch.zeros(2)}, r"\['loss'\]"),
        ((torch.zeros(2),), "tuple"),
        (torch.zeros(2, 2), "Tensor"),
    ],
)
def test_outputs_without_a_scalar_loss_say_what_came(outputs: Any, received: str) -> None:
    with pytest.raises(ValueError, match=f"returned no loss.*received {received}"):
        loss_of(outputs)


# --- predictions ------------------------------------------------------------------------------------------------------

LOSS, LOGITS, EXTRA = torch.tensor(1.0), torch.ones(2), torch.zeros(2)


@pytest.mark.parametrize(
    ("outputs", "has_loss", "expected"),
    [
        ({"loss": LOSS, "logits": LOGITS}, True, LOGITS),
        ({"logits": LOGITS}, False, LOGITS),
        ((LOSS, LOGITS), True, LOGITS),
        ((LOGITS,), False, LOGITS),
        (LOGITS, False, LOGITS),
    ],
)
def test_one_prediction_is_a_tensor(outputs: Any, has_loss: bool, expected: torch.Tensor) -> None:
    assert predictions_of(outputs, has_loss, ()) is expected


def test_several_predictions_are_a_tuple_in_the_models_order() -> None:
    first, second = predictions_of(Output(loss=LOSS, logits=LOGITS, extra=EXTRA), True, ())
    assert first is LOGITS
    assert second is EXTRA


def test_ignored_outputs_are_left_out() -> None:
    assert predictions_of(Output(loss=LOSS, logits=LOGITS, extra=EXTRA), True, ("extra",)) is LOGITS
