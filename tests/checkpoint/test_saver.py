from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch

from lt_trainer.args.plan import Saving
from lt_trainer.checkpoint.find import list_checkpoints, verify
from lt_trainer.checkpoint.saver import Saver, save_model, unique_weights
from lt_trainer.files import LOCK
from lt_trainer.models.gpt2 import GPT2Config, GPT2LMHeadModel
from lt_trainer.models.weights import WeightIndex
from lt_trainer.state import TrainerState
from tests.checkpoint.states import save, state_at

if TYPE_CHECKING:
    from pathlib import Path

TOO_MUCH = 10**18


def saver(folder: Path, *, is_writer: bool = True, **changes: Any) -> Saver:
    saving = {"total_limit": None, "only_model": False, "load_best": True, "metric_for_best": "eval_loss"}
    return Saver(str(folder), Saving(**{**saving, "greater_is_better": False, **changes}), is_writer=is_writer)


def write(saver: Saver, state: TrainerState, step: int, *, is_best: bool = False) -> None:
    state.global_step = step
    saver.write(state_at(step), saver.begin(state, is_best=is_best))


def steps(folder: Path) -> list[int]:
    return [int(path.name.split("-")[1]) for path in list_checkpoints(folder)]


# --- the folder -------------------------------------------------------------------------------------------------------


def test_a_folder_is_one_runs_until_it_is_released(tmp_path: Path) -> None:
    first, second = saver(tmp_path / "run"), saver(tmp_path / "run")
    first.prepare(0)
    with pytest.raises(BlockingIOError, match="in use by another run"):
        second.prepare(0)
    second.release()
    assert (tmp_path / "run" / LOCK).exists()
    first.release()
    assert list((tmp_path / "run").iterdir()) == []


def test_processes_that_do_not_write_touch_nothing(tmp_path: Path) -> None:
    other = saver(tmp_path / "run", is_writer=False)
    other.prepare(TOO_MUCH)
    other.release()
    assert not (tmp_path / "run").exists()


def test_a_disk_without_room_is_refused_with_the_numbers(tmp_path: Path) -> None:
    full = saver(tmp_path)
    with pytest.raises(OSError, match=r"GB are needed and .* GB are free.*make room or choose another"):
        full.prepare(TOO_MUCH)
    full.release()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("limit", "present", "saves"), [(None, 0, 1), (2, 0, 3), (2, 2, 1), (2, 5, 1)])
def test_room_is_wanted_for_what_is_kept_and_one_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int | None, present: int, saves: int
) -> None:
    wanted = []
    monkeypatch.setattr(
        "lt_trainer.checkpoint.saver.ensure_writable", lambda folder, need_bytes=0: wanted.append(need_bytes)
    )
    for step in range(present):
        (tmp_path / f"checkpoint-{step}").mkdir()
    prepared = saver(tmp_path, total_limit=limit)
    prepared.prepare(10)
    prepared.release()
    assert wanted[-1] == 10 * saves


# --- the best ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("greater", "values", "best"),
    [
        (False, [3.0, 2.0, 2.0, 2.5], [True, True, False, False]),
        (True, [3.0, 2.0, 3.0, 3.5], [True, False, False, True]),
        (False, [float("nan"), 2.0, float("nan")], [False, True, False]),
    ],
)
def test_the_first_of_equals_is_the_best_and_nan_never(
    tmp_path: Path, greater: bool, values: list[float], best: list[bool]
) -> None:
    ranking, state = saver(tmp_path, greater_is_better=greater), TrainerState()
    assert [ranking.rank({"eval_loss": value}, state) for value in values] == best


def test_a_metric_that_is_not_there_lists_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match=r"expected one of \['eval_accuracy'\], received 'eval_loss'"):
        saver(tmp_path).rank({"eval_accuracy": 1.0}, TrainerState())


def test_without_a_metric_nothing_is_the_best(tmp_path: Path) -> None:
    assert not saver(tmp_path, metric_for_best=None).rank({"eval_loss": 1.0}, TrainerState())


def test_the_best_weights_are_loaded_at_the_end(tmp_path: Path) -> None:
    model, state = torch.nn.Linear(2, 1), TrainerState()
    ours = saver(tmp_path)
    ours.begin_best(state)
    ours.write_best({name: torch.full_like(value, 7.0) for name, value in model.state_dict().items()}, None, {})
    assert state.best_model_checkpoint == str(tmp_path / "best")
    ours.finish(model, state)
    assert model.weight.tolist() == [[7.0, 7.0]]


@pytest.mark.parametrize(
    ("best", "said"),
    [(None, "no evaluation had a best model"), ("gone", "gone cannot be loaded, the last weights stay")],
)
def test_where_there_is_no_best_the_last_weights_stay_and_it_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, best: str | None, said: str
) -> None:
    model = torch.nn.Linear(2, 1)
    before = model.weight.clone()
    saver(tmp_path).finish(model, TrainerState(best_model_checkpoint=best and str(tmp_path / best)))
    assert model.weight.equal(before)
    assert said in caplog.text


def test_a_best_that_could_not_be_written_gives_way_to_the_one_before(tmp_path: Path) -> None:
    ours, state = saver(tmp_path, total_limit=1), TrainerState()
    write(ours, state, 5, is_best=True)
    state.global_step = 10
    ours.forget(ours.begin(state, is_best=True), state)
    assert state.best_model_checkpoint == str(tmp_path / "checkpoint-5")
    write(ours, state, 15)
    assert steps(tmp_path) == [5, 15]


# --- writing ----------------------------------------------------------------------------------------------------------


def test_the_limit_counts_and_the_best_stays(tmp_path: Path) -> None:
    ours, state = saver(tmp_path, total_limit=2), TrainerState()
    for step in (1, 2, 3, 4):
        write(ours, state, step, is_best=step == 1)
    assert steps(tmp_path) == [1, 4]
    assert all(verify(path) is None for path in list_checkpoints(tmp_path))


def test_the_state_is_that_of_the_moment(tmp_path: Path) -> None:
    counter = {"seen": 3}
    ours = saver(tmp_path)
    state = TrainerState(global_step=3, log_history=[{"loss": 1.0}], stateful_callbacks={"Counter": counter})
    taken = ours.begin(state, is_best=True)
    state.global_step = counter["seen"] = 4
    state.log_history.append({"loss": 2.0})
    ours.write(state_at(3), taken)
    saved = json.loads((tmp_path / "checkpoint-3" / "trainer_state.json").read_text())
    assert (saved["global_step"], saved["log_history"]) == (3, [{"loss": 1.0}])
    assert saved["stateful_callbacks"] == {"Counter": {"seen": 3}}
    assert saved["best_model_checkpoint"] == str(tmp_path / "checkpoint-3")


# --- where to go on ---------------------------------------------------------------------------------------------------


def test_true_takes_the_newest_that_verifies(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(tmp_path, 5)
    (save(tmp_path, 10) / "optimizer.pt").write_bytes(b"")
    assert saver(tmp_path).locate(True).name == "checkpoint-5"
    assert "checkpoint-10 is passed over: optimizer.pt has 0 bytes" in caplog.text


def test_a_name_takes_that_one_or_is_refused(tmp_path: Path) -> None:
    assert saver(tmp_path).locate(str(save(tmp_path, 5))) == tmp_path / "checkpoint-5"
    with pytest.raises(FileNotFoundError, match=r"checkpoint-6.*there are \['checkpoint-5'\]"):
        saver(tmp_path).locate(str(tmp_path / "checkpoint-6"))
    with pytest.raises(ValueError, match="save_only_model"):
        saver(tmp_path).locate(str(save(tmp_path, 7, only_model=True)))


# --- models -----------------------------------------------------------------------------------------------------------


def test_a_model_is_saved_beside_other_files(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    save_model(tmp_path, torch.nn.Linear(2, 1), None)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert set(WeightIndex(tmp_path)) == {"weight", "bias"}


def test_tied_weights_have_one_name() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.Linear(2, 2, bias=False))
    model[1].weight = model[0].weight
    assert list(unique_weights(model)) == ["0.weight"]


def test_views_of_one_storage_are_all_kept() -> None:
    model = torch.nn.Module()
    whole = torch.arange(4.0)
    model.register_buffer("first", whole[:2])
    model.register_buffer("second", whole[2:])
    assert list(unique_weights(model)) == ["first", "second"]


def test_a_model_that_writes_keeps_its_settings_in_what_is_saved(tmp_path: Path) -> None:
    config = GPT2Config(vocab_size=20, n_embd=8, n_layer=1, n_head=1, n_positions=8)
    model = GPT2LMHeadModel(config)
    model.generation_config.num_beams = 3
    save_model(tmp_path, model, None)
    assert GPT2LMHeadModel.from_pretrained(tmp_path).generation_config.num_beams == 3
