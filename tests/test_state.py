from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import pytest

from lt_trainer.state import (
    ExportableState,
    HubStrategy,
    IntervalStrategy,
    SaveStrategy,
    TrainerControl,
    TrainerState,
)

if TYPE_CHECKING:
    from pathlib import Path


class Counting(ExportableState):
    def __init__(self, start: int = 0) -> None:
        self.start, self.seen = start, 0

    def state(self) -> dict[str, object]:
        return {"args": {"start": self.start}, "attributes": {"seen": self.seen}}


def full_state() -> TrainerState:
    return TrainerState(
        epoch=1.5,
        global_step=3,
        max_steps=6,
        num_train_epochs=3,
        log_history=[{"loss": 0.5, "step": 3, "epoch": 1.5}],
        best_metric=0.25,
        best_model_checkpoint="out/checkpoint-3",
        trial_params={"learning_rate": 1e-4},
        stateful_callbacks=[Counting(2), TrainerControl(should_log=True)],
    )


def test_state_survives_a_file(tmp_path: Path) -> None:
    full_state().save_to_json(tmp_path / "trainer_state.json")
    assert TrainerState.load_from_json(tmp_path / "trainer_state.json") == full_state()


def test_states_pass_both_ways_to_transformers(tmp_path: Path) -> None:
    theirs = pytest.importorskip("transformers").TrainerState
    assert [f.name for f in dataclasses.fields(theirs)] == [f.name for f in dataclasses.fields(TrainerState)]
    full_state().save_to_json(tmp_path / "ours.json")
    loaded = theirs.load_from_json(str(tmp_path / "ours.json"))
    loaded.save_to_json(str(tmp_path / "theirs.json"))
    assert (tmp_path / "ours.json").read_text() == (tmp_path / "theirs.json").read_text()
    assert TrainerState.load_from_json(tmp_path / "theirs.json") == full_state()
    assert dataclasses.asdict(theirs()) == dataclasses.asdict(TrainerState())


def test_logs_are_not_shared_between_states() -> None:
    TrainerState().log_history.append({"loss": 1.0})
    assert TrainerState().log_history == []
    assert TrainerState(**{**dataclasses.asdict(TrainerState()), "log_history": None}).log_history == []


def test_numbers_of_numpy_can_be_logged() -> None:
    numpy = pytest.importorskip("numpy")
    state = TrainerState(log_history=[{"eval_accuracy": numpy.float32(0.5)}])
    assert json.loads(state.to_json_string())["log_history"] == [{"eval_accuracy": 0.5}]


def test_callbacks_of_one_class_are_kept_as_a_list() -> None:
    one, two = Counting(1), Counting(2)
    two.seen = 5
    assert TrainerState(stateful_callbacks=[one]).stateful_callbacks == {"Counting": one.state()}
    kept = TrainerState(stateful_callbacks=[one, two]).stateful_callbacks["Counting"]
    assert kept == [one.state(), two.state()]
    restored = Counting.from_state(kept[1])
    assert (restored.start, restored.seen) == (2, 5)


def test_a_class_without_state_says_so() -> None:
    with pytest.raises(NotImplementedError, match=r"ExportableState has no state\(\)"):
        ExportableState().state()


def test_control_keeps_its_flags() -> None:
    control = TrainerControl(should_save=True, should_training_stop=True)
    assert TrainerControl.from_state(control.state()) == control


def test_strategies_equal_those_of_transformers() -> None:
    utils = pytest.importorskip("transformers.trainer_utils")
    for ours in (IntervalStrategy, SaveStrategy, HubStrategy):
        theirs = getattr(utils, ours.__name__)
        assert {m.name: m.value for m in ours} == {m.name: m.value for m in theirs}
        assert all(getattr(theirs, m.name) == m for m in ours)
