"""Families against `transformers` with the same tiny random weights: what every parity test does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

import lt_trainer

if TYPE_CHECKING:
    from pathlib import Path

VOCABULARY = 80
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}
ROW_HEADS = ("SequenceClassification",)
SMALL_HEADS = ("SequenceClassification", "TokenClassification")
LENGTHS = (9, 2, 5, 17)
TINY: dict[str, dict[str, Any]] = {
    "bert": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
    "roberta": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2},
    "t5": {"d_model": 32, "num_layers": 2, "num_heads": 2, "d_kv": 16, "d_ff": 64, "decoder_start_token_id": 0},
}
"""Settings of a small model of each native family, beside its vocabulary."""


def write(folder: Path, config: Any, head: str | None = None, seed: int = 0) -> Path:
    """A folder of `transformers` with random weights, drawn wide so that a wrong layer shows in the third digit."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(seed)
    name = "AutoModel" if head is None else f"AutoModelFor{head}"
    model = getattr(transformers, name).from_config(config)
    with torch.no_grad():
        for parameter in {id(p): p for p in model.parameters()}.values():
            noise = torch.randn_like(parameter) * 0.1
            parameter.copy_(noise + 1 if parameter.eq(1).all() else noise)
    model.save_pretrained(folder)
    return folder


def pair(folder: Path, head: str | None, **options: Any) -> tuple[nn.Module, nn.Module]:
    """Our model and that of `transformers` with equal weights, loaded from one folder with equal seeds."""
    transformers = pytest.importorskip("transformers")
    name = "AutoModel" if head is None else f"AutoModelFor{head}"
    models = []
    for library in (lt_trainer, transformers):
        torch.manual_seed(3)
        models.append(getattr(library, name).from_pretrained(folder, **options))
    return models[0], models[1]


def padded(lengths: tuple[int, ...] = LENGTHS, side: str = "right", extra: int = 2, pad: int = 0) -> dict[str, Any]:
    """Random rows with `extra` columns more than the longest has; ids from 5 up, so that none is a special token."""
    width = max(lengths) + extra
    column = torch.arange(width).expand(len(lengths), -1)
    length_B1 = torch.tensor(lengths)[:, None]
    mask = column < length_B1 if side == "right" else column >= width - length_B1
    draw = torch.Generator().manual_seed(5)
    ids = torch.randint(5, VOCABULARY, mask.shape, generator=draw)
    return {"input_ids": ids.where(mask, pad), "attention_mask": mask.long()}


def with_labels(batch: dict[str, Any], head: str) -> dict[str, Any]:
    """Adds what a head learns from; every row has a target."""
    draw = torch.Generator().manual_seed(6)
    mask = batch["attention_mask"] == 1
    rows = mask.shape[0]
    if head in ROW_HEADS:
        return {**batch, "labels": torch.randint(0, 3, (rows,), generator=draw)}
    if head == "QuestionAnswering":
        positions = torch.randint(0, mask.shape[1], (2, rows), generator=draw)
        return {**batch, "start_positions": positions[0], "end_positions": positions[1]}
    if head == "CausalLM":  # what no token of the row itself predicts is no target of ours
        first = mask.int().argmax(dim=1, keepdim=True) == torch.arange(mask.shape[1])
        return {**batch, "labels": batch["input_ids"].where(mask & ~first, -100)}
    target = mask & (torch.rand(mask.shape, generator=draw) < 0.3)
    target[0, mask[0].nonzero()[0]] = True
    classes = VOCABULARY if head == "MaskedLM" else 3
    return {**batch, "labels": torch.randint(0, classes, mask.shape, generator=draw).where(target, -100)}


def batch_of(head: str, side: str, lengths: tuple[int, ...] = LENGTHS, pad: int = 0) -> dict[str, Any]:
    """A ragged batch of a head; answers only have the softmax of `transformers` in rows without padding."""
    if head == "QuestionAnswering":
        return with_labels(padded((max(lengths),) * len(lengths), side, extra=0, pad=pad), head)
    return with_labels(padded(lengths, side, pad=pad), head)


def options_of(head: str | None) -> dict[str, Any]:
    """Three classes where a head has classes."""
    return {"num_labels": 3} if head in SMALL_HEADS else {}


def rows_alone(theirs: nn.Module, batch: dict[str, Any], columns: bool) -> dict[str, torch.Tensor]:
    """What `transformers` says of rows without padding: in a batch padded on the left it reads a pad token.

    Args:
        theirs: classifies rows by their first token.
        batch: with labels.
        columns: positions are the columns of the batch, which its model counts anew in a row alone.
    """
    logits = []
    for ids, mask in zip(batch["input_ids"], batch["attention_mask"] == 1, strict=True):
        positions = {"position_ids": mask.nonzero().T} if columns else {}
        logits.append(theirs(input_ids=ids[mask][None], **positions).logits)
    return {"logits": torch.cat(logits), "loss": nn.functional.cross_entropy(torch.cat(logits), batch["labels"])}


def assert_equal_outputs(ours: Any, theirs: Any, real: torch.Tensor) -> None:
    """Loss and all scores at real tokens."""
    torch.testing.assert_close(ours["loss"], theirs["loss"], **TOLERANCE)
    for name in set(ours) - {"loss"}:
        mine, reference = ours[name], theirs[name]
        if mine.shape[:2] == real.shape:
            mine, reference = mine[real], reference[real]
        torch.testing.assert_close(mine, reference, **TOLERANCE)


def assert_equal_gradients(ours: nn.Module, theirs: nn.Module, loss: Any, reference: Any, least: int = 20) -> None:
    """Every parameter's gradient, of which at least so many are not zero."""
    loss.backward()
    reference.backward()
    expected = dict(theirs.named_parameters())
    seen = 0
    for name, values in ours.named_parameters():
        if expected[name].grad is None:
            assert values.grad is None or values.grad.abs().max() == 0, name
            continue
        torch.testing.assert_close(
            values.grad, expected[name].grad, **TOLERANCE, msg=lambda m, name=name: f"{name}: {m}"
        )
        seen += int(values.grad.abs().max() > 0)
    assert seen >= least, seen


def assert_equal_names(ours: nn.Module, theirs: nn.Module, values: bool = True) -> None:
    """Names, their order, and the tensors."""
    state, expected = ours.state_dict(), theirs.state_dict()
    assert list(state) == list(expected)
    assert all(torch.equal(state[name], expected[name]) for name in state if values)


def assert_folder_goes_there_and_back(ours: Any, head: str | None, tmp_path: Path) -> None:
    """What we write, `transformers` reads whole and writes with the same bytes, and we read that."""
    transformers = pytest.importorskip("transformers")
    from safetensors.torch import load_file

    name = "AutoModel" if head is None else f"AutoModelFor{head}"
    ours.save_pretrained(tmp_path / "ours")
    theirs, info = getattr(transformers, name).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    theirs.save_pretrained(tmp_path / "theirs")
    first, second = (load_file(tmp_path / folder / "model.safetensors") for folder in ("ours", "theirs"))
    assert first.keys() == second.keys()
    assert all(x.view(torch.uint8).equal(second[name].view(torch.uint8)) for name, x in first.items())
    back = getattr(lt_trainer, name).from_pretrained(tmp_path / "theirs")
    assert all(torch.equal(values, ours.state_dict()[name]) for name, values in back.state_dict().items())
    written = back.config.to_dict()
    kept = {name: value for name, value in ours.config_to_save().items() if name != "transformers_version"}
    assert {name: written[name] for name in kept if kept[name] is not None} == {
        name: value for name, value in kept.items() if value is not None
    }


def assert_rows_do_not_meet(model: Any, batch: dict[str, Any], head: str) -> None:
    """A batch equals its rows alone, and what changes in row 0 changes the others by exactly nothing."""
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    out = model(**inputs)
    name = "start_logits" if head == "QuestionAnswering" else "logits"
    real = inputs["attention_mask"] == 1
    for row in range(len(real)):
        alone = model(
            input_ids=inputs["input_ids"][row : row + 1], attention_mask=inputs["attention_mask"][row : row + 1]
        )
        torch.testing.assert_close(out[name][row], alone[name][0], **TOLERANCE)
    changed = inputs["input_ids"].clone()
    changed[0] = (changed[0] + 1).where(real[0], changed[0])
    other = model(**{**inputs, "input_ids": changed})
    assert torch.equal(other[name][1:], out[name][1:])
    assert not torch.equal(other[name][0], out[name][0])


class Parity:
    """What every family is held to; a module of tests/parity names CONFIG, SETTINGS, HEADS and PRETRAINED beside it."""

    pad_token = 0
    reads_first_token = True
    """Rows are classified by their first token, which `transformers` takes from column 0."""
    counts_columns = True
    """Positions are the columns of the batch."""

    @pytest.mark.parametrize("side", ["right", "left"])
    def test_loss_logits_and_every_gradient_are_equal(self, folder: Any, head: str, side: str) -> None:
        ours, theirs = pair(folder(), head, **options_of(head))
        batch = batch_of(head, side, pad=self.pad_token)
        out = ours(**batch)
        alone = self.reads_first_token and side == "left" and head == "SequenceClassification"
        expected = rows_alone(theirs, batch, columns=self.counts_columns) if alone else theirs(**batch)
        assert_equal_outputs(out, expected, batch["attention_mask"] == 1)
        assert_equal_gradients(ours, theirs, out["loss"], expected["loss"])

    @pytest.mark.parametrize("side", ["right", "left"])
    def test_rows_of_a_batch_do_not_meet(self, folder: Any, head: str, side: str) -> None:
        ours, _ = pair(folder(), head, **options_of(head))
        assert_rows_do_not_meet(ours, padded(side=side, pad=self.pad_token), head)

    def test_names_and_freshly_drawn_heads_are_equal(self, folder: Any, any_head: str | None) -> None:
        """From the same seed even a new head has the values that `transformers` gives it."""
        assert_equal_names(*pair(folder(), any_head, **options_of(any_head)))

    def test_a_folder_goes_there_and_back_byte_for_byte(
        self, folder: Any, tmp_path: Path, any_head: str | None
    ) -> None:
        ours, _ = pair(folder(), any_head, **options_of(any_head))
        assert_folder_goes_there_and_back(ours, any_head, tmp_path)
