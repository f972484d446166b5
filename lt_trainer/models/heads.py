"""What every family's heads have in common: labels in, loss and logits out. A family brings the layers.

Dimension letters: B rows, T padded length, N packed tokens, R tokens that are read, D width, V vocabulary, C classes.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lt_trainer import losses
from lt_trainer.criterion import spread
from lt_trainer.models.base import PreTrainedModel
from lt_trainer.models.checks import check_labels
from lt_trainer.models.layers import Dropout
from lt_trainer.models.outputs import ModelOutput
from lt_trainer.packed import PackedBatch, Read, take, unpack

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

_NO_ANSWER = -10_000.0  # scores of pad positions as starts and ends: no answer lies there
Output = ModelOutput | tuple[Any, ...]


class HiddenStates(PreTrainedModel):
    """A model without a head, whose last hidden states are all that it returns."""

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        *,
        packed: PackedBatch | None = None,
        return_dict: bool | None = None,
    ) -> Output:
        """Hidden states.

        Args:
            input_ids: [B, T]; with the next three the padded form of the input.
            attention_mask: [B, T], non-zero = real token.
            token_type_ids: [B, T] int64, which text of a pair a token is of: 0 the first, 1 the second; None = all 0;
                takes no effect in a family without types.
            position_ids: [B, T] or [1, T] int64, row of the position table, from 0; None = as the family counts;
                takes no effect in a family without a table of positions.
            packed: the packed form of the input, in place of the padded one.
            return_dict: False returns a tuple.

        Returns:
            `last_hidden_state` [B, T, D], zero at pad positions; with a pooler `pooler_output` [B, D].
        """
        packed, _ = self.packed_inputs(input_ids, attention_mask, token_type_ids, position_ids, packed)
        x_ND = self.encode(packed)
        values = {"last_hidden_state": unpack(x_ND, packed), "pooler_output": self.pooled(x_ND, packed)}
        return as_asked(ModelOutput(values), return_dict)

    def pooled(self, x_ND: Tensor, packed: PackedBatch) -> Tensor | None:
        """What a family makes of its last hidden states for each row, [B, D]; None where it has no such thing."""
        return None


class Head(PreTrainedModel):
    """A base model with a score on top.

    A family's class makes the layers and says in `scores` how hidden states become scores; the rest is here.
    """

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        labels: Tensor | None = None,
        *,
        num_items_in_batch: Tensor | int | None = None,
        packed: PackedBatch | None = None,
        output_logits: bool | None = None,
        return_dict: bool | None = None,
    ) -> Output:
        """Scores rows or tokens, as the head does.

        Args:
            input_ids: [B, T]; with the next three the padded form of the input.
            attention_mask: [B, T], non-zero = real token.
            token_type_ids: [B, T] int64, which text of a pair a token is of: 0 the first, 1 the second; None = all 0.
            position_ids: [B, T] or [1, T] int64, row of the position table, from 0; None = as the family counts.
            labels: what is learnt, -100 = no target; see the head's `outputs`.
            num_items_in_batch: targets of the whole optimizer step; None = of this batch.
            packed: the packed form of the input, in place of the padded one.
            output_logits: True computes logits now, False leaves out those that the loss does not need, None computes
                them when they are read (now, where there are no labels).
            return_dict: False returns a tuple.

        Returns:
            `loss` (with labels) and `logits`; see the head's `outputs`.
        """
        packed, given = self.packed_inputs(
            input_ids, attention_mask, token_type_ids, position_ids, packed, labels=labels
        )
        return as_asked(self.outputs(packed, given["labels"], num_items_in_batch, output_logits), return_dict)

    def count_targets(self, batch: Mapping[str, Any]) -> int:
        """Labels that are not -100."""
        return int((batch["labels"] != losses.IGNORED).sum())

    def outputs(
        self, packed: PackedBatch, labels: Tensor | None, num_items: Tensor | int | None, output_logits: bool | None
    ) -> ModelOutput:
        """Loss and logits of a packed batch; the arguments are those of `forward`."""
        raise NotImplementedError

    def scores(self, x: Tensor) -> Tensor:
        """Hidden states [..., D] of the base model to scores [..., C]."""
        raise NotImplementedError

    def _read(self, packed: PackedBatch, all_tokens: bool) -> Tensor:
        """Last hidden states where targets are [R, D], or of all tokens [N, D]."""
        if all_tokens or packed.read is None:
            return self.base_model.encode(packed)
        if not packed.read.index_R.numel():  # no target: no loss, but gradients of zero, which other ranks wait for
            return self.base_model.encode(packed)[:0]
        return self.base_model.encode(packed, packed.read)


class SequenceClassification(Head):
    """One label, several labels, or numbers for a row, read at one token: its first where a family says no other."""

    scores_rows = True

    @property
    def row_classes(self) -> int:
        """Labels of one class a row lie in 0..row_classes-1."""
        return self.config.num_labels

    def row_tokens(self, packed: PackedBatch) -> Read:
        """The token of each row that stands for it."""
        return packed.first()

    def pack_inputs(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """As in PreTrainedModel; labels outside 0..num_labels-1 raise ValueError with row and value."""
        labels = batch.get("labels")
        if labels is not None and self._problem_type(labels) == "single_label_classification":
            check_labels(labels, self.row_classes)
        return super().pack_inputs(batch)

    def count_targets(self, batch: Mapping[str, Any]) -> int:
        """Rows with a label; for several labels or numbers a row, each of them."""
        if self._problem_type(batch["labels"]) == "single_label_classification":
            return super().count_targets(batch)
        return int(batch["labels"].numel())

    def outputs(
        self, packed: PackedBatch, labels: Tensor | None, num_items: Tensor | int | None, output_logits: bool | None
    ) -> ModelOutput:
        """Scores of rows.

        Args:
            packed: the batch.
            labels: [B] int64 classes (-100 = no target), [B, C] for several labels a row, [B] or [B, C] floats for
                regression; `config.problem_type` is set from the first labels where it is None.
            num_items: targets of the whole optimizer step; None = of this batch.
            output_logits: takes no effect: [B, C] costs nothing.

        Returns:
            `loss` (with labels), `logits` [B, C].
        """
        logits_BC = self.scores(self.base_model.encode(packed, self.row_tokens(packed)))
        loss = None if labels is None else self._loss(logits_BC, labels, num_items)
        return ModelOutput({"loss": loss, "logits": logits_BC})

    def _loss(self, logits_BC: Tensor, labels: Tensor, num_items: Tensor | int | None) -> Tensor:
        kind = self.config.problem_type = self._problem_type(labels)
        if kind == "single_label_classification":
            part = self.criterion.cross_entropy(logits_BC, labels.flatten())
        elif kind == "regression":
            part = self.criterion.squared_error(logits_BC, labels.view(logits_BC.shape))
        else:
            part = self.criterion.binary_cross_entropy(logits_BC, labels.view(logits_BC.shape))
        return losses.mean_loss(part, num_items)

    def _problem_type(self, labels: Tensor) -> str:
        """The configured one, or what the labels look like, by the rule of `transformers`."""
        if self.config.problem_type is not None:
            return self.config.problem_type
        if self.config.num_labels == 1:
            return "regression"
        return "multi_label_classification" if labels.is_floating_point() else "single_label_classification"


class ClassificationHead(nn.Module):
    """Classes of a row from one token's state, by two layers."""

    def __init__(self, width: int, dropout: float, num_labels: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.dropout = Dropout(dropout)
        self.out_proj = nn.Linear(width, num_labels)

    def forward(self, x_BD: Tensor) -> Tensor:
        """[B, C]."""
        scores: Tensor = self.out_proj(self.dropout(torch.tanh(self.dense(self.dropout(x_BD)))))
        return scores


class TokenHead(Head):
    """A score for every token; the loss computes the last layer and the score at the targets alone.

    Logits that nobody asked for are computed when they are read. In training mode they are then another sample of the
    dropout than the loss; `output_logits=True` computes both from one.
    """

    @property
    def num_classes(self) -> int:
        """Labels lie in 0..num_classes-1."""
        return self.config.num_labels

    def pack_inputs(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """As in PreTrainedModel; `labels` [B, T] become those of the targets alone, [R], and `packed.read` their place.

        So do `loss_weights`, [B] or [B, T].

        Raises:
            ValueError: a label outside 0..num_classes-1 (with row and value), or labels of another shape.
        """
        packs = super().pack_inputs(batch)
        labels = batch.get("labels")
        if labels is None:
            return packs
        if labels.shape != batch["input_ids"].shape:
            raise ValueError(
                f"labels: expected one a token, {tuple(batch['input_ids'].shape)}, received {tuple(labels.shape)}: "
                "pad them with DataCollatorForTokenClassification"
            )
        check_labels(labels, self.num_classes)
        labels_N = self.targets(take(labels, packs["packed"]), packs["packed"])
        packed = packs["packed"].reading(labels_N != losses.IGNORED)
        if packs.get(losses.LOSS_WEIGHTS) is not None:
            weights_N = self.targets(take(spread(packs[losses.LOSS_WEIGHTS], labels.shape), packed), packed)
            packs[losses.LOSS_WEIGHTS] = weights_N[packed.read.index_R]
        return {**packs, "packed": packed, "labels": labels_N[packed.read.index_R]}

    def targets(self, labels_N: Tensor, packed: PackedBatch) -> Tensor:
        """What is to be predicted at each token, [N]: its own label."""
        return labels_N

    def count_targets(self, batch: Mapping[str, Any]) -> int:
        """Real tokens with a label."""
        target = batch["labels"] != losses.IGNORED
        mask = batch.get("attention_mask")
        return int((target if mask is None else target & (mask != 0)).sum())

    def outputs(
        self, packed: PackedBatch, labels: Tensor | None, num_items: Tensor | int | None, output_logits: bool | None
    ) -> ModelOutput:
        """Scores of tokens.

        Args:
            packed: the batch, with the places of the targets in `read` where there are labels.
            labels: [R] int64, those of the targets alone: `pack_inputs` takes them from [B, T].
            num_items: targets of the whole optimizer step; None = of this batch.
            output_logits: True computes the logits of all tokens now, False leaves them out, None computes them
                when they are read (now, where there are no labels).

        Returns:
            `loss` (with labels), `logits` [B, T, C], zero at pad positions.
        """
        if labels is None:
            return ModelOutput({"logits": self._logits(packed)})
        if not output_logits:
            loss = losses.mean_loss(self.loss_at(self._read(packed, False), labels), num_items)
            lazy = {} if output_logits is False else {"logits": partial(self._logits, packed)}
            return ModelOutput({"loss": loss}, lazy=lazy)
        assert packed.read is not None
        scores_NC = self.scores(self._read(packed, True))
        loss = losses.mean_loss(self.criterion.cross_entropy(scores_NC[packed.read.index_R], labels), num_items)
        return ModelOutput({"loss": loss, "logits": unpack(scores_NC, packed)})

    def loss_at(self, x_RD: Tensor, labels_R: Tensor) -> losses.SumAndCount:
        """The loss at the targets."""
        return self.criterion.cross_entropy(self.scores(x_RD), labels_R)

    def _logits(self, packed: PackedBatch) -> Tensor:
        return unpack(self.scores(self._read(packed, True)), packed)


class TokenClassification(TokenHead):
    """Classes of tokens by one layer, `classifier`, behind `dropout`."""

    dropout: nn.Module
    classifier: nn.Module

    def scores(self, x: Tensor) -> Tensor:
        """[R, C]."""
        scores: Tensor = self.classifier(self.dropout(x))
        return scores


class QuestionAnswering(Head):
    """Two scores for every token: where an answer starts and where it ends."""

    label_names = ("start_positions", "end_positions")
    qa_outputs: nn.Module

    def scores(self, x: Tensor) -> Tensor:
        """[N, 2]."""
        scores: Tensor = self.qa_outputs(x)
        return scores

    def count_targets(self, batch: Mapping[str, Any]) -> int:
        """Rows whose answer lies inside the row."""
        start = batch["start_positions"]
        packed = batch.get("packed")
        width = packed.padded_shape[1] if packed is not None else batch["input_ids"].shape[1]
        return int(((start >= 0) & (start < width)).sum())

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        *,
        num_items_in_batch: Tensor | int | None = None,
        packed: PackedBatch | None = None,
        output_logits: bool | None = None,
        return_dict: bool | None = None,
    ) -> Output:
        """Scores tokens as the start and the end of an answer; the softmax of the loss is over real tokens alone.

        The arguments are those of `Head.forward`, with two in place of `labels`: `start_positions` and `end_positions`,
        [B] columns in 0..T-1; others are no target. `output_logits` takes no effect: the loss needs the logits.

        Returns:
            `loss` (with positions), `start_logits` and `end_logits` [B, T], -10000 at pad positions.
        """
        packed, _ = self.packed_inputs(input_ids, attention_mask, token_type_ids, position_ids, packed)
        start_BT, end_BT = unpack(self.scores(self._read(packed, True)), packed, _NO_ANSWER).unbind(dim=-1)
        loss = None
        if start_positions is not None and end_positions is not None:
            pad_BT = unpack(torch.zeros_like(packed.index_N, dtype=torch.bool), packed, fill=True)
            scores = [x.float().masked_fill(pad_BT, -torch.inf) for x in (start_BT, end_BT)]
            targets = [_inside(x, packed.padded_shape[1]) for x in (start_positions, end_positions)]
            loss = losses.mean_loss(self.criterion.span(*scores, *targets), num_items_in_batch)
        return as_asked(ModelOutput({"loss": loss, "start_logits": start_BT, "end_logits": end_BT}), return_dict)


def as_asked(output: ModelOutput, return_dict: bool | None) -> Output:
    """The output itself, or its tuple where `return_dict` is False."""
    return output.to_tuple() if return_dict is False else output


def _inside(position_B: Tensor, width: int) -> Tensor:
    position_B = position_B.flatten()
    return position_B.where((position_B >= 0) & (position_B < width), losses.IGNORED)
