"""The evaluation step: a window of batches brings its losses and predictions to whoever evaluates.

Also what both kinds of steps share: how a window comes to the device, and the loss of one batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from lt_trainer.data.windows import Batch, Window, move
from lt_trainer.drivers import Driver, driver_for
from lt_trainer.evaluation import Evaluation, Part
from lt_trainer.models.base import PreTrainedModel
from lt_trainer.objective import (
    count_targets,
    forward_parameters,
    inputs_of,
    label_names_of,
    model_loss,
    predictions_of,
)
from lt_trainer.private import OwnTransfer

if TYPE_CHECKING:
    from torch import nn

    from lt_trainer.hooks import StepHooks

PASS_TOKENS = 1024  # of an evaluation: of more, what lies between the products no longer fits a cache (docs/log.md)


class EvaluationModule(OwnTransfer):
    """Evaluates any model over windows of batches.

    Args:
        model: native models compute no padding; any other `nn.Module` is called with the batch as keywords.
        hooks: see StepHooks.
    """

    allow_zero_length_dataloader_with_multiple_devices = True  # a rank may have no row of a small evaluation set

    def __init__(self, model: nn.Module, hooks: StepHooks) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model, self.hooks = model, hooks
        self.evaluation = Evaluation()
        self.driver: Driver | None = None

    def setup(self, stage: str) -> None:
        """Called by Lightning before fit, validate, test and predict, when the processes know each other."""
        self.driver = driver_for(self.trainer)
        if stage == "fit":
            self.hooks.agree(self.driver)

    def configure_model(self) -> None:
        """Called by Lightning after `setup`: the strategy deals the weights out, where it shards them."""
        assert self.driver is not None
        self.driver.prepare(self.model)

    # ---- a window

    def prepare(self, batch: Any, device: torch.device) -> Window:
        """Counts the targets and packs the rows on the CPU, then moves what is left."""
        window = Window.of(batch)
        window.batches = [self.trainer.precision_plugin.convert_input(batch) for batch in window.batches]
        if not self.trainer.training and self.evaluation.predicts is not None:
            window = window.cut_at(self.evaluation.predicts)
        if self.hooks.check_batch is not None:
            for micro_batch, rows in zip(window.batches, window.rows, strict=True):
                self.hooks.check_batch(micro_batch, rows)
        if self.trainer.training:
            window = self.count_inputs(window)
        else:
            window.labels = [self._labels(batch) for batch in window.batches]
        if self.evaluation.pick_inputs is not None:
            window.inputs = [dict(batch) for batch in window.batches]
        window.counts = [
            0 if window.is_blank(i) else count_targets(self.model, b, self.hooks.criterion)
            for i, b in enumerate(window.batches)
        ]
        if self.packs:
            assert isinstance(self.model, PreTrainedModel)
            window.batches = [self.model.pack_inputs(micro_batch) for micro_batch in window.batches]
            if not self.trainer.training and self._parts_of_a_pass_are_known:
                window.join(PASS_TOKENS)
        return window.to(device)

    def count_inputs(self, window: Window) -> Window:
        """What training does with a window whose batches are still padded."""
        raise NotImplementedError(f"{type(self).__name__} does not train: take StepModule")

    @property
    def _parts_of_a_pass_are_known(self) -> bool:
        """Whether a batch's part can be told from the outputs of several: scores by row, no loss of its own."""
        assert isinstance(self.model, PreTrainedModel)
        splits = (self.model.scores_rows or self.hooks.predict is not None) and self.evaluation.predicts is None
        return not self.evaluation.wants_predictions or (splits and not self.evaluation.keeps_losses)

    def _labels(self, batch: Batch) -> tuple[Any, ...]:
        named = self.hooks.label_names
        found = tuple(batch[name] for name in named or label_names_of(self.model) if batch.get(name) is not None)
        if len(found) < len(named) and (found or self.evaluation.needs_labels):
            raise ValueError(
                f"label_names={list(named)}: expected a column for each, received {sorted(batch)}: name those that the "
                "data set has, or leave label_names out where the model's own are meant"
            )
        return found

    def loss(self, batch: Batch, num_targets: torch.Tensor, count: float) -> tuple[torch.Tensor, Any]:
        """The part of a step's loss that one micro-batch brings.

        Args:
            batch: a collated or packed micro-batch; its labels may be taken out by the caller's `compute_loss`.
            num_targets: of the whole step, over all ranks, 0-d.
            count: targets of this micro-batch.

        Returns:
            (loss, outputs): the sum over the batch's targets divided by `num_targets`, 0-d; what the model returned.
        """
        if self.hooks.compute_loss is not None:
            return self.hooks.compute_loss(self.model, dict(batch), num_targets, count)
        return model_loss(self.model, batch, num_targets, self.hooks.criterion)

    @property
    def packs(self) -> bool:
        """Whether batches can be packed before the transfer: a user's steps, loss or forward take the padded form."""
        native = isinstance(self.model, PreTrainedModel) and "packed" in forward_parameters(self.model)
        hooks = self.hooks
        return native and not any((hooks.compute_loss, hooks.training_step, hooks.prediction_step))

    # ---- its evaluation

    def validation_step(self, window: Window, batch_idx: int) -> None:
        """Adds each batch's loss and, where somebody reads them, its predictions to `self.evaluation`."""
        for batch, passed in zip(window.batches, window.passes, strict=True):
            if self.hooks.prediction_step is not None:
                self.evaluation.add(self._own_part(window, passed[0], batch))
                self.hooks.fire("on_prediction_step")
                continue
            count = sum(window.counts[i] for i in passed)
            loss, outputs = self._evaluate(batch, count, bool(window.labels[passed[0]]))
            plain = self.hooks.criterion.take_plain()
            predictions: Any = [None] * len(passed)
            predicted = self.evaluation.predicts is None or window.rows[passed[0]][0] < self.evaluation.predicts
            if self.evaluation.wants_predictions and predicted:
                whole = self._predictions(batch, outputs, loss is not None)
                predictions = [whole] if len(passed) == 1 else whole.split([len(window.rows[i]) for i in passed])
            for i, prediction in zip(passed, predictions, strict=True):
                part = Part(
                    window.rows[i], loss, count, prediction, kept=window.kept[i], plain_loss=plain, predicted=predicted
                )
                self.evaluation.add(self._with_labels(window, i, part))
                loss, plain, count = None, None, 0  # the first part of a pass brings the loss of all
                self.hooks.fire("on_prediction_step")

    def _with_labels(self, window: Window, i: int, part: Part) -> Part:
        if self.evaluation.wants_predictions:
            labels = window.labels[i]
            if self.evaluation.reads_labels:
                labels = tuple(move(label, self.device) for label in labels)
            part.labels = labels[0] if len(labels) == 1 else labels or None
            part.inputs = window.inputs[i] if window.inputs else None
        return part

    def _own_part(self, window: Window, i: int, batch: Batch) -> Part:
        """Of a `prediction_step` of the user's."""
        assert self.hooks.prediction_step is not None
        keep, count = self.evaluation.wants_predictions, window.counts[i]
        mean, predictions, labels = self.hooks.prediction_step(self.model, dict(batch), not keep)
        loss = None if mean is None else mean.detach() * count
        inputs = window.inputs[i] if window.inputs else None
        return Part(window.rows[i], loss, count, predictions, labels, inputs, window.kept[i])

    def _predictions(self, batch: Batch, outputs: Any, has_loss: bool) -> Any:
        if self.hooks.predict is not None:
            return self.hooks.predict(self.model, batch)
        return predictions_of(outputs, has_loss, self.evaluation.ignore_keys)

    def test_step(self, window: Window, batch_idx: int) -> None:
        """As in validation."""
        self.validation_step(window, batch_idx)

    def _evaluate(self, batch: Batch, count: float, has_labels: bool) -> tuple[torch.Tensor | None, Any]:
        """(sum of the loss over the batch's targets, outputs); no loss where the data has no labels."""
        keep = self.evaluation.wants_predictions and self.hooks.predict is None
        if not has_labels:
            return None, self.model(**inputs_of(batch)) if self.hooks.predict is None else None
        if self.packs:
            return model_loss(self.model, batch, torch.ones(()), self.hooks.criterion, output_logits=keep)
        mean, outputs = self.loss(batch, torch.tensor(count or 1), count)
        return mean * count if count else torch.zeros_like(mean), outputs
