from __future__ import annotations

import pytest

from lt_trainer.outputs import EvalLoopOutput, EvalPrediction, PredictionOutput, TrainOutput


def test_predictions_unpack_with_what_there_is() -> None:
    predictions, labels = EvalPrediction("p", "l")
    assert (predictions, labels) == ("p", "l")
    assert list(EvalPrediction("p", "l", losses="x")) == ["p", "l", "x"]
    full = EvalPrediction("p", "l", inputs="i", losses="x")
    assert [full[i] for i in range(4)] == ["p", "l", "i", "x"]
    assert (full.predictions, full.label_ids, full.inputs, full.losses) == ("p", "l", "i", "x")
    for index in (-1, 4):
        with pytest.raises(IndexError):
            full[index]


def test_outputs_have_the_fields_of_transformers() -> None:
    utils = pytest.importorskip("transformers.trainer_utils")
    for ours in (EvalLoopOutput, PredictionOutput, TrainOutput):
        assert ours._fields == getattr(utils, ours.__name__)._fields
