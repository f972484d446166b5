"""A step of the same rows is the same step, for every task and however its rows are cut up, padded or shared out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.utils import parameters_to_vector

from lt_trainer import AutoConfig, Trainer, TrainerCallback, TrainingArguments
from tests.families import TINY, VOCABULARY

LENGTHS = (9, 2, 5, 17, 3, 12, 7)  # tokens of the first seven rows, and again
ROWS = 28
HEADS = {
    "SequenceClassification": "bert",
    "TokenClassification": "bert",
    "QuestionAnswering": "bert",
    "MaskedLM": "bert",
    "CausalLM": "gpt2",
    "Seq2SeqLM": "t5",
}
NO_DROPOUT = {
    "bert": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    "gpt2": {"embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0},
    "t5": {"dropout_rate": 0.0},
}
WAYS = {"4x4": (4, 4), "1x16": (1, 16), "8x2": (8, 2)}  # rows of a micro-batch, micro-batches of a step


def model_for(head: str) -> Any:
    import lt_trainer

    torch.manual_seed(0)
    family = HEADS[head]
    config = AutoConfig.for_model(family, vocab_size=VOCABULARY, **TINY[family], **NO_DROPOUT[family])
    model = getattr(lt_trainer, f"AutoModelFor{head}").from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)  # so that no gradient is next to nothing
    return model


def rows_for(head: str) -> list[dict[str, Any]]:
    """Ragged rows, of which one in four has few targets."""
    draw = torch.Generator().manual_seed(2)
    rows: list[dict[str, Any]] = []
    for i in range(ROWS):
        length = LENGTHS[i % len(LENGTHS)]
        row: dict[str, Any] = {"input_ids": torch.randint(5, VOCABULARY, (length,), generator=draw).tolist()}
        if head == "SequenceClassification":
            row["labels"] = i % 2
        elif head == "QuestionAnswering":
            row |= {"start_positions": i % length, "end_positions": length - 1}
        else:
            few = 3 if i % 4 else 1  # a target in three, or each
            row["labels"] = [(t % 2 if head[0] == "T" else t) if (t + i) % few == 0 else -100 for t in row["input_ids"]]
            row["labels"][-1] = 1
        rows.append(row)
    return rows


def collate(rows: list[dict[str, Any]], width: int = 0) -> dict[str, torch.Tensor]:
    """Pads to the longest row, or to `width`."""
    width = max(width, *(len(row["input_ids"]) for row in rows))
    padded = [row["input_ids"] + [0] * (width - len(row["input_ids"])) for row in rows]
    mask = [[1] * len(row["input_ids"]) + [0] * (width - len(row["input_ids"])) for row in rows]
    batch = {"input_ids": torch.tensor(padded), "attention_mask": torch.tensor(mask)}
    for name in rows[0].keys() - {"input_ids"}:
        values = [row[name] for row in rows]
        if isinstance(values[0], list):
            values = [value + [-100] * (width - len(value)) for value in values]
        batch[name] = torch.tensor(values)
    return batch


class Gradients(TrainerCallback):
    """Keeps the gradient of each step."""

    def __init__(self) -> None:
        self.kept: list[torch.Tensor] = []

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any, **kwargs: Any) -> None:
        self.kept.append(parameters_to_vector([p.grad for p in model.parameters() if p.grad is not None]))


def train(
    folder: Any, head: str, batch: int, accumulation: int, width: int = 0, **options: Any
) -> tuple[list[torch.Tensor], Any]:
    """Gradients and losses of the two steps of an epoch, the second with fewer rows."""
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=1,
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulation,
        learning_rate=0.0,
        max_grad_norm=0.0,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        remove_unused_columns=False,
        **options,
    )
    gradients = Gradients()
    trainer = Trainer(
        model_for(head),
        arguments,
        data_collator=lambda rows: collate(rows, width),
        train_dataset=rows_for(head),
        callbacks=[gradients],
    )
    trainer.train()
    return gradients.kept, [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def assert_same(found: Any, expected: Any) -> None:
    for gradient, wanted in zip(found[0], expected[0], strict=True):
        assert wanted.norm() > 0
        assert (gradient - wanted).norm() <= 1e-5 * wanted.norm()
    assert found[1] == pytest.approx(expected[1], rel=1e-6)


@pytest.mark.parametrize("head", HEADS)
def test_gradients_and_losses_are_those_of_whole_batches(tmp_path, head):
    """Of 28 rows in steps of 16: the last step has 12, as 3 micro-batches of 4."""
    expected = train(tmp_path, head, 16, 1)
    assert len(expected[0]) == 2
    for batch, accumulation in WAYS.values():
        assert_same(train(tmp_path, head, batch, accumulation), expected)


@pytest.mark.parametrize("head", HEADS)
def test_smoothed_losses_are_those_of_whole_batches_too(tmp_path, head):
    smoothed = {"label_smoothing_factor": 0.2}
    expected = train(tmp_path, head, 16, 1, **smoothed)
    assert expected[1] != train(tmp_path, head, 16, 1)[1]
    assert_same(train(tmp_path, head, 4, 4, **smoothed), expected)


@pytest.mark.parametrize("head", HEADS)
def test_padding_changes_nothing(tmp_path, head):
    assert_same(train(tmp_path, head, 4, 4, width=40), train(tmp_path, head, 4, 4))


@pytest.mark.parametrize("head", HEADS)
def test_losses_of_evaluations_are_exact_whatever_the_batch(tmp_path, head):
    """Beside the sum over rows one by one, in double precision."""
    rows, model = rows_for(head), model_for(head).double().eval()
    with torch.no_grad():
        batches = [collate([row]) for row in rows]
        losses = [float(model(**batch).loss) for batch in batches]
    counts = [model.count_targets(batch) for batch in batches]
    exact = sum(loss * count for loss, count in zip(losses, counts, strict=True)) / sum(counts)
    for size in (1, 4, 16):
        arguments = TrainingArguments(
            output_dir=str(tmp_path),
            per_device_eval_batch_size=size,
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            remove_unused_columns=False,
        )
        trainer = Trainer(model_for(head), arguments, data_collator=collate, eval_dataset=rows)
        assert trainer.evaluate()["eval_loss"] == pytest.approx(exact, rel=1e-6)
