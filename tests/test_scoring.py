"""What `compute_metrics` is given, and what may come back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from lt_trainer import Trainer, TrainingArguments
from lt_trainer.arrays import Columns
from lt_trainer.scoring import checked, plain
from tests.faults import runs

LOCAL_METRIC = """
import datasets
import evaluate


class Share(evaluate.Metric):
    def _info(self):
        features = datasets.Features({"predictions": datasets.Value("int32"), "references": datasets.Value("int32")})
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

    def _compute(self, predictions, references):
        return {"share": sum(p == r for p, r in zip(predictions, references)) / len(references)}
"""


def build(output_dir, rows=None, model=None, **options):
    options = {"report_to": "none", "disable_tqdm": True, "use_cpu": True, "per_device_eval_batch_size": 3, **options}
    names = ("compute_metrics", "preprocess_logits_for_metrics")
    given = {name: options.pop(name) for name in names if name in options}
    torch.manual_seed(0)
    args = TrainingArguments(str(output_dir), **options)
    return Trainer(model or runs.Toy(), args, eval_dataset=rows or runs.rows(10), **given)


def share(prediction):
    return float((np.argmax(prediction.predictions, -1) == prediction.label_ids).mean())


def test_metrics_of_numpy_evaluate_and_torchmetrics_agree(tmp_path):
    from torchmetrics.classification import MulticlassAccuracy

    evaluate = pytest.importorskip("evaluate")
    (tmp_path / "share").mkdir()
    (tmp_path / "share" / "share.py").write_text(LOCAL_METRIC)
    local = evaluate.load(str(tmp_path / "share"), cache_dir=str(tmp_path / "cache"))
    torched = MulticlassAccuracy(2, average="micro")

    def metrics(prediction):
        logits, labels = prediction
        found = local.compute(predictions=np.argmax(logits, -1), references=labels)
        scores = torched(torch.from_numpy(logits), torch.from_numpy(labels))
        return {**found, "torchmetrics": scores, "numpy": share(prediction)}

    found = build(tmp_path / "run", compute_metrics=metrics).evaluate()
    assert found["eval_share"] == found["eval_numpy"] == pytest.approx(found["eval_torchmetrics"])
    assert {type(found[f"eval_{name}"]) for name in ("share", "torchmetrics", "numpy")} == {float}


def test_torchmetrics_that_are_updated_batch_by_batch_give_what_one_call_gives(tmp_path):
    from torchmetrics.classification import MulticlassAccuracy

    metric = MulticlassAccuracy(2, average="micro")

    def metrics(prediction, compute_result):
        assert isinstance(prediction.predictions, torch.Tensor)
        metric.update(prediction.predictions, prediction.label_ids)
        if not compute_result:
            return None
        found = metric.compute()
        metric.reset()
        return {"share": found}

    trainer = build(tmp_path, compute_metrics=metrics, batch_eval_metrics=True)
    found = [trainer.evaluate()["eval_share"] for _ in range(2)]
    whole = build(tmp_path, compute_metrics=lambda p: {"share": share(p)}).evaluate()["eval_share"]
    assert found == pytest.approx([whole, whole])
    metric.update(torch.tensor([[0.0, 1.0]]), torch.tensor([1]))  # its state is an ordinary one
    assert float(metric.compute()) == 1.0


def test_example_ids_say_which_row_is_which(tmp_path):
    rows = runs.rows(10)
    seen = []

    def metrics(prediction, compute_result=True):
        seen.append((prediction.example_ids, prediction.label_ids))
        return {}

    build(tmp_path, rows, compute_metrics=metrics).evaluate()
    build(tmp_path, rows, compute_metrics=metrics, batch_eval_metrics=True).evaluate()
    for ids, labels in seen:
        assert [rows[i]["labels"] for i in ids] == labels.tolist()
    assert seen[0][0].tolist() == list(range(10))
    assert [len(ids) for ids, _ in seen] == [10, 3, 3, 3, 1]


def test_batch_metrics_need_the_argument_that_says_the_end(tmp_path):
    with pytest.raises(ValueError, match=r"compute_result.*received one that takes \['prediction'\].*add the argument"):
        build(tmp_path, compute_metrics=lambda prediction: {}, batch_eval_metrics=True)


@pytest.mark.parametrize("wrong", [None, 0.5, ["f1"], "f1"], ids=str)
def test_what_is_no_dict_is_refused(tmp_path, wrong):
    trainer = build(tmp_path, compute_metrics=lambda prediction: wrong)
    with pytest.raises(TypeError, match=rf"compute_metrics: expected a dict .*received .*\({type(wrong).__name__}\)"):
        trainer.evaluate()


def test_names_that_are_no_text_are_refused():
    with pytest.raises(TypeError, match="names of metrics as text, received 3"):
        checked({3: 1.0})


def test_arrays_and_tensors_become_numbers_and_lists():
    found = plain({"a": np.float32(0.5), "b": torch.tensor([2]), "c": np.array([1, 2]), "d": (np.int64(1),), "e": "x"})
    assert found == {"a": 0.5, "b": 2, "c": [1, 2], "d": [1], "e": "x"}
    assert type(found["a"]) is float


def test_a_metric_named_loss_takes_the_place_of_the_loss(tmp_path):
    assert build(tmp_path, compute_metrics=lambda prediction: {"loss": -1.0}).evaluate()["eval_loss"] == -1.0


class Named(nn.Module):
    """Takes its labels under another name, with a second column that may hold some."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, x, target=None, soft_label=None):
        logits = self.linear(x)
        if target is None and soft_label is None:
            return {"logits": logits}
        loss = nn.functional.cross_entropy(logits, target if target is not None else soft_label)
        return {"loss": loss, "logits": logits}


def renamed(*names):
    return [{"x": row["x"], **dict.fromkeys(names, row["labels"])} for row in runs.rows(6)]


def test_label_names_say_which_columns_are_labels(tmp_path):
    seen = []

    def metrics(prediction):
        seen.append(prediction.label_ids)
        return {}

    options = {"model": Named(), "label_names": ["target"], "compute_metrics": metrics}
    assert "eval_loss" in build(tmp_path, renamed("target"), **options).evaluate()
    options["label_names"] = ["target", "soft_label"]
    build(tmp_path, renamed("soft_label", "target"), **options).evaluate()
    assert seen[0].tolist() == [row["labels"] for row in runs.rows(6)]
    assert [labels.tolist() for labels in seen[1]] == [seen[0].tolist()] * 2


def test_a_label_column_of_the_models_own_is_found(tmp_path):
    assert "eval_loss" in build(tmp_path, renamed("soft_label"), model=Named()).evaluate()


@pytest.mark.parametrize("names", [["targets"], ["target", "soft_label"]])
def test_label_names_that_the_data_does_not_have_are_refused(tmp_path, names):
    trainer = build(tmp_path, renamed("target"), model=Named(), label_names=names)
    with pytest.raises(ValueError, match=r"label_names=\[.*expected a column for each, received \['target', 'x'\]"):
        trainer.evaluate()


def test_prediction_needs_no_label_that_label_names_names(tmp_path):
    trainer = build(tmp_path, model=Named(), label_names=["target"])
    assert trainer.predict(renamed()).label_ids is None


@pytest.mark.parametrize("name", ["c", "eval"])
def test_a_set_that_is_not_among_several_is_refused_by_name(tmp_path, name):
    trainer = build(tmp_path)
    trainer.eval_dataset = {"a": runs.rows(4), "b": runs.rows(4)}
    with pytest.raises(ValueError, match=rf"eval_dataset='{name}': expected .* one of the trainer's own, \['a', 'b'\]"):
        trainer.evaluate(name)


def test_inputs_for_metrics_need_the_models_main_input(tmp_path):
    trainer = build(tmp_path, compute_metrics=lambda prediction: {}, include_for_metrics=["inputs"])
    with pytest.raises(ValueError, match=r"expected 'input_ids'.*received \['labels', 'x'\]: set main_input_name"):
        trainer.evaluate()


def test_large_predictions_are_kept_in_a_file_and_give_the_same(tmp_path, monkeypatch):
    plain_output = build(tmp_path).predict(runs.rows(10))
    monkeypatch.setitem(Columns.__init__.__kwdefaults__, "in_memory", 0)
    seen = []

    def metrics(prediction):
        seen.append(prediction.predictions)
        return {"share": share(prediction)}

    output = build(tmp_path, compute_metrics=metrics).predict(runs.rows(10))
    assert isinstance(seen[0], np.memmap)
    np.testing.assert_array_equal(output.predictions, plain_output.predictions)
    np.testing.assert_array_equal(output.label_ids, plain_output.label_ids)
