from __future__ import annotations

import pickle

import pytest
from torch.utils import _pytree as pytree

from lt_trainer.models.outputs import ModelOutput


class Counted:
    """A function that counts its calls."""

    calls = 0

    def __call__(self) -> str:
        self.calls += 1
        return "computed"


def test_attribute_key_and_index_are_the_same_value() -> None:
    out = ModelOutput({"loss": 1, "logits": 2})
    assert (out.loss, out["loss"], out[0]) == (1, 1, 1)
    assert out[1:] == (2,)
    assert out.to_tuple() == (1, 2)
    assert isinstance(out, dict)


def test_none_is_absent_but_may_be_asked_for() -> None:
    out = ModelOutput({"loss": None, "logits": 2})
    assert list(out) == ["logits"]
    assert out[0] == 2
    assert out.loss is None
    assert out.get("loss", "no") == "no"


def test_a_misspelt_output_is_an_error_that_lists_the_outputs() -> None:
    with pytest.raises(AttributeError, match=r"\['logits'\], and no 'logit'"):
        _ = ModelOutput({"logits": 2}).logit


def test_setting_an_attribute_sets_the_value() -> None:
    out = ModelOutput({"loss": 1})
    out.loss = 5
    assert out["loss"] == 5


def test_a_lazy_value_is_computed_once_when_it_is_read() -> None:
    compute = Counted()
    out = ModelOutput({"loss": 1}, lazy={"logits": compute})
    assert list(out) == ["loss", "logits"]
    assert "logits" in out
    assert compute.calls == 0
    assert (out.logits, out["logits"], out[1]) == ("computed",) * 3
    assert compute.calls == 1


def test_dictionaries_made_of_an_output_hold_values() -> None:
    assert dict(ModelOutput(lazy={"logits": Counted()})) == {"logits": "computed"}
    assert {**ModelOutput(lazy={"logits": Counted()})} == {"logits": "computed"}
    assert pickle.loads(pickle.dumps(ModelOutput(lazy={"logits": Counted()}))) == {"logits": "computed"}


def test_walking_through_an_output_reads_no_lazy_value() -> None:
    compute = Counted()
    out = pytree.tree_map(lambda leaf: leaf * 2 if leaf == 1 else leaf, ModelOutput({"loss": 1}, lazy={"x": compute}))
    assert isinstance(out, ModelOutput)
    assert out.loss == 2
    assert compute.calls == 0
    assert out["x"] == "computed"
