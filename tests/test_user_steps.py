"""What an override makes of a step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from lt_trainer import (
    Trainer,
    TrainingArguments,
    user_steps,
)


class Foreign(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor, labels: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        logits = self.linear(x)
        loss = logits.sum() if labels is None else nn.functional.cross_entropy(logits, labels)
        return {"loss": loss, "logits": logits}


def facade(model: nn.Module, *, trainer_class: type[Trainer] = Trainer, **options: Any) -> Trainer:
    arguments = {name: options.pop(name) for name in ("label_names", "remove_unused_columns") if name in options}
    args = TrainingArguments("unused", report_to="none", disable_tqdm=True, use_cpu=True, **arguments)
    return trainer_class(model=model, args=args, **options)


class MeanOfFive(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False):  # type: ignore[no-untyped-def, override]
        return (torch.tensor(5.0), "outputs") if return_outputs else torch.tensor(5.0)


class SumOfTen(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):  # type: ignore[no-untyped-def, override]
        loss = 10.0 / num_items_in_batch
        return (loss, "outputs") if return_outputs else loss


def test_the_models_own_loss_needs_no_function() -> None:
    assert user_steps.user_loss(facade(Foreign())) is None


@pytest.mark.parametrize(("trainer_class", "expected"), [(MeanOfFive, 5.0 * 2 / 8), (SumOfTen, 10.0 / 8)])
def test_an_overridden_loss_is_weighed_unless_it_takes_the_count(trainer_class: type[Trainer], expected: float) -> None:
    compute = user_steps.user_loss(facade(Foreign(), trainer_class=trainer_class))
    assert compute is not None
    loss, outputs = compute(Foreign(), {}, torch.tensor(8), 2)
    assert (float(loss), outputs) == (expected, "outputs")


def test_a_loss_function_gets_outputs_labels_and_the_count() -> None:
    def loss(outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor) -> torch.Tensor:
        return labels.sum() / num_items_in_batch * outputs["logits"].shape[1]

    compute = user_steps.user_loss(facade(Foreign(), compute_loss_func=loss))
    assert compute is not None
    batch = {"x": torch.zeros(2, 2), "labels": torch.tensor([1, 1])}
    assert float(compute(Foreign(), batch, torch.tensor(8), 2)[0]) == 2 / 8 * 2
