"""A run on the hub: which files each strategy uploads and when, and that no hub ends a run."""

from __future__ import annotations

import io
import logging
import traceback
from contextlib import redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, Any

import pytest
import torch
import yaml
from datasets import Dataset

from lt_trainer import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainerCallback, TrainingArguments
from lt_trainer.hub import HubError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.hub_server import Hub, Repository

SECRET = "hf_verysecret"
TEXTS = ["a good film", "the plot was dull", "very great", "never good", "it is bad", "a great actor"] * 2
MODEL = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}


class Pushes(TrainerCallback):
    """The steps at which a push began."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def on_push_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.steps.append(state.global_step)


class Waits(TrainerCallback):
    """Lets the uploads of a save end before the next step, where order is what the test looks at."""

    trainer: Trainer

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        assert self.trainer._publisher is not None
        assert self.trainer._publisher.uploads.wait(20)


@pytest.fixture
def build(hub: Hub, tiny_bert: Callable[..., Path], tmp_path: Path) -> Callable[..., Trainer]:
    folder = tiny_bert(head="sequence")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = Dataset.from_dict({**tokenizer(TEXTS), "label": [1, 0, 1, 0, 0, 1] * 2})

    def make(*callbacks: TrainerCallback, waits: bool = True, **options: Any) -> Trainer:
        settings = {
            "output_dir": str(tmp_path / "run"),
            "per_device_train_batch_size": 3,
            "max_steps": 4,
            "save_strategy": "steps",
            "save_steps": 2,
            "push_to_hub": True,
            "hub_token": SECRET,
            "report_to": "none",
            "disable_tqdm": True,
            "use_cpu": True,
        }
        trainer = Trainer(
            AutoModelForSequenceClassification.from_pretrained(folder),
            TrainingArguments(**{**settings, **options}),
            train_dataset=rows,
            eval_dataset=rows,
            processing_class=tokenizer,
            callbacks=list(callbacks),
            compute_metrics=lambda prediction: {"accuracy": 0.75},
        )
        if waits:
            waiting = Waits()
            waiting.trainer = trainer
            trainer.add_callback(waiting)
        return trainer

    return make


def repository(hub: Hub, name: str = "me/run") -> Repository:
    return hub.repositories[name]


def test_the_repository_is_made_when_the_trainer_is(hub: Hub, build: Callable[..., Trainer]) -> None:
    trainer = build(hub_model_id="team/model", hub_private_repo=True, hub_revision="dev")
    assert trainer.hub_model_id == "team/model"
    assert repository(hub, "team/model").private
    assert repository(hub, "team/model").branches == {"main", "dev"}
    assert build().hub_model_id == "me/run"  # the folder's name, and the owner of the token
    assert set(hub.tokens) == {SECRET}


def test_every_save_uploads_the_model(hub: Hub, build: Callable[..., Trainer], tmp_path: Path) -> None:
    pushes = Pushes()
    trainer = build(pushes)
    trainer.train()
    assert repository(hub).messages == ["Training in progress, step 2", "Training in progress, step 4"]
    assert pushes.steps == [2, 4]
    for commit, step in zip(repository(hub).commits, (2, 4), strict=True):
        assert set(commit.files) >= MODEL
        assert not any(name.startswith(("checkpoint-", "last-checkpoint", "optimizer", ".")) for name in commit.files)
        saved = tmp_path / "run" / f"checkpoint-{step}" / "model.safetensors"
        assert commit.files["model.safetensors"] == saved.read_bytes()
    assert trainer.unpublished == {}


def test_messages_count_epochs_where_saves_do(hub: Hub, build: Callable[..., Trainer]) -> None:
    build(save_strategy="epoch", max_steps=-1, num_train_epochs=2).train()
    assert repository(hub).messages == ["Training in progress, epoch 1", "Training in progress, epoch 2"]


@pytest.mark.parametrize(
    ("strategy", "places"),
    [("checkpoint", ["last-checkpoint", "last-checkpoint"]), ("all_checkpoints", ["checkpoint-2", "checkpoint-4"])],
)
def test_checkpoints_are_uploaded_beside_the_model(
    hub: Hub, build: Callable[..., Trainer], tmp_path: Path, strategy: str, places: list[str]
) -> None:
    build(hub_strategy=strategy).train()
    assert repository(hub).messages == [
        f"Training in progress, step {step}{more}" for step in (2, 4) for more in ("", ", checkpoint")
    ]
    for commit, place, step in zip(repository(hub).commits[1::2], places, (2, 4), strict=True):
        folder = tmp_path / "run" / f"checkpoint-{step}"
        assert commit.files == {f"{place}/{path.name}": path.read_bytes() for path in folder.iterdir()}


def test_a_checkpoint_of_the_hub_can_be_gone_on_from(hub: Hub, build: Callable[..., Trainer], tmp_path: Path) -> None:
    build(hub_strategy="all_checkpoints", output_dir=str(tmp_path / "a")).train()
    for name, data in repository(hub, "me/a").files().items():
        path = tmp_path / "fetched" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    build(output_dir=str(tmp_path / "b")).train(str(tmp_path / "fetched" / "checkpoint-2"))
    weights = [(tmp_path / run / "checkpoint-4" / "model.safetensors").read_bytes() for run in "ab"]
    assert weights[0] == weights[1]
    assert set(repository(hub, "me/b").messages) == {"Training in progress, step 4"}


def test_end_uploads_when_the_model_is_saved(hub: Hub, build: Callable[..., Trainer], tmp_path: Path) -> None:
    trainer = build(hub_strategy="end", hub_revision="dev")
    trainer.train()
    assert repository(hub).commits == []
    trainer.save_model()
    assert repository(hub).messages == ["Model save"]
    assert MODEL | {"README.md"} <= set(repository(hub).files("dev"))
    assert not any("checkpoint-" in name for name in repository(hub).files("dev"))


def test_push_to_hub_returns_the_commit(hub: Hub, build: Callable[..., Trainer], tmp_path: Path) -> None:
    trainer = build(push_to_hub=False, hub_token=None, waits=False)
    trainer.train()
    assert hub.requests == []
    commit = trainer.push_to_hub("done", token=SECRET, private=True, tags="films", license="mit")
    assert commit.commit_url.startswith(f"{hub.url}/me/run/commit/")
    assert repository(hub).messages == ["done"]
    assert repository(hub).private
    card = repository(hub).files()["README.md"].decode()
    assert "license: mit" in card
    assert "- films" in card
    later = trainer.push_to_hub(blocking=False, revision="main")
    assert later.result(20).commit_message == "End of training"
    assert set(hub.tokens) == {SECRET}


def test_the_output_folder_goes_along_and_what_is_hidden_stays(
    hub: Hub, build: Callable[..., Trainer], tmp_path: Path
) -> None:
    trainer = build(waits=False, save_strategy="no")
    for name in (
        "notes.md",
        "logs/a.txt",
        "_private.txt",
        ".env",
        "best/model.safetensors",
        "checkpoint-9/config.json",
    ):
        path = tmp_path / "run" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    trainer.push_to_hub()
    assert set(repository(hub).files()) == MODEL | {"README.md", "notes.md", "logs/a.txt"}
    assert not list((tmp_path / "run").glob(".tmp-*"))


def test_a_save_is_passed_over_while_the_one_before_is_uploaded_and_made_up_for(
    hub: Hub, build: Callable[..., Trainer], caplog: pytest.LogCaptureFixture
) -> None:
    class Opens(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 4:
                gate.set()

    gate = hub.hold("preupload")
    build(Opens(), waits=False, save_steps=1, max_steps=5, save_total_limit=1).train()
    messages = repository(hub).messages
    assert messages[0] == "Training in progress, step 1"  # though its checkpoint was removed meanwhile
    assert messages[-1] == "Training in progress, step 5"
    assert "Training in progress, step 2" not in messages


def test_hub_always_push_passes_nothing_over(hub: Hub, build: Callable[..., Trainer]) -> None:
    gate = hub.hold("preupload")

    class Opens(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 3:
                gate.set()

    build(Opens(), waits=False, save_steps=1, max_steps=3, hub_always_push=True, save_total_limit=1).train()
    assert repository(hub).messages == [f"Training in progress, step {step}" for step in (1, 2, 3)]


def test_a_slow_hub_does_not_slow_training(hub: Hub, build: Callable[..., Trainer]) -> None:
    ended: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == state.max_steps:
                ended.append(len(repository(hub).commits))
                gate.set()

    gate = hub.hold("/commit/")
    build(Clock(), waits=False, save_steps=2).train()
    assert ended == [0]  # all steps were done while the first upload was still waiting
    assert repository(hub).messages == ["Training in progress, step 2", "Training in progress, step 4"]


@pytest.mark.parametrize("status", [401, 403, 404, 500, 0])
@pytest.mark.parametrize("place", ["preupload", "PUT", "/commit/"])
def test_no_upload_ends_a_run_and_what_is_missing_is_said(
    hub: Hub, build: Callable[..., Trainer], caplog: pytest.LogCaptureFixture, place: str, status: int
) -> None:
    trainer = build()
    hub.fail(place, status=status, times=10**6, message=f"no, {SECRET}")
    output = trainer.train()
    assert output.global_step == 4
    assert list(trainer.unpublished) == ["the model"]
    assert trainer.push_to_hub() is None
    said = [record.getMessage() for record in caplog.records if "not on the hub: the model" in record.getMessage()]
    assert len(said) == 1
    assert "It is in " in said[0]
    assert SECRET not in caplog.text
    hub.faults.clear()
    assert trainer.push_to_hub() is not None
    assert trainer.unpublished == {}


def test_checkpoints_that_were_passed_over_are_made_up_for_or_named(hub: Hub, build: Callable[..., Trainer]) -> None:
    class Opens(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 5:
                gate.set()

    gate = hub.hold("preupload")
    trainer = build(Opens(), waits=False, save_steps=1, max_steps=5, save_total_limit=2, hub_strategy="all_checkpoints")
    trainer.train()
    there = {name.split("/")[0] for name in repository(hub).files() if name.startswith("checkpoint-")}
    assert there == {"checkpoint-1", "checkpoint-4", "checkpoint-5"}
    assert set(trainer.unpublished) == {"checkpoint-2", "checkpoint-3"}
    assert "hub_always_push" in trainer.unpublished["checkpoint-2"]


@pytest.mark.parametrize("status", [401, 403])
def test_a_hub_that_refuses_at_the_start_ends_it_before_anything_is_computed(
    hub: Hub, build: Callable[..., Trainer], status: int
) -> None:
    hub.fail("create|GET", status=status, times=99, message=f"no, {SECRET}")
    with pytest.raises(HubError, match=f"the hub did not create it .run.: {status}") as caught:
        build()
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("status", [503, 0])
def test_a_hub_that_is_not_there_at_the_start_is_asked_again_later(
    hub: Hub, build: Callable[..., Trainer], caplog: pytest.LogCaptureFixture, status: int
) -> None:
    hub.fail("create", status=status, times=3)
    trainer = build()
    assert "The run goes on; its first upload tries again" in caplog.text
    trainer.train()
    assert trainer.hub_model_id == "me/run"
    assert repository(hub).messages[-1] == "Training in progress, step 4"
    assert trainer.unpublished == {}


def test_a_hub_that_never_answers_holds_up_nothing(
    hub: Hub, build: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("lt_trainer.publish.FIRST_ANSWER_SECONDS", 0.2)
    monkeypatch.setattr("lt_trainer.publish.LAST_UPLOAD_SECONDS", 0.2)
    gate = hub.hold("create")
    trainer = build(waits=False)
    assert "no answer in" in caplog.text
    assert trainer.train().global_step == 4
    assert list(trainer.unpublished) == ["the model"]
    gate.set()
    assert trainer._publisher is not None
    trainer._publisher.uploads.wait(20)


def test_offline_trains_and_says_so(
    hub: Hub, build: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    trainer = build()
    assert trainer.train().global_step == 4
    assert "HF_HUB_OFFLINE is set" in trainer.unpublished["the model"]
    assert hub.requests == []


def test_the_token_is_nowhere(
    hub: Hub, build: Callable[..., Trainer], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    shown = io.StringIO()
    with redirect_stdout(shown), redirect_stderr(shown):
        hub.fail("/commit/", status=403, message=SECRET)
        trainer = build(hub_strategy="all_checkpoints", logging_steps=1)
        trainer.train()
        trainer.save_state()
        trainer.push_to_hub()
        print(trainer.args, vars(trainer._publisher), trainer._publisher.repository, trainer.unpublished)
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert len(files) > 10
    assert [path for path, data in files.items() if SECRET.encode() in data] == []
    assert [name for name, data in repository(hub).files().items() if SECRET.encode() in data] == []
    assert SECRET not in caplog.text
    assert SECRET not in shown.getvalue()
    assert hub.tokens.count(SECRET) > 3


def test_the_card_holds_metrics_data_arguments_and_versions(
    hub: Hub, build: Callable[..., Trainer], tmp_path: Path
) -> None:
    trainer = build(waits=False, push_to_hub=False, eval_strategy="steps", eval_steps=2, logging_steps=2)
    trainer.train()
    trainer.create_model_card(
        language="en", license="mit", tags=["films"], model_name="critic", finetuned_from="me/base", dataset="Films"
    )
    head, text = (tmp_path / "run" / "README.md").read_text().removeprefix("---\n").split("---\n", 1)
    card = yaml.safe_load(head)
    loss = [entry for entry in trainer.state.log_history if "eval_loss" in entry][-1]["eval_loss"]
    assert card == {
        "library_name": "transformers",
        "language": "en",
        "license": "mit",
        "base_model": "me/base",
        "pipeline_tag": "text-classification",
        "tags": ["films", "generated_from_trainer", "lt_trainer"],
        "datasets": ["films"],
        "metrics": ["accuracy"],
        "model-index": [
            {
                "name": "critic",
                "results": [
                    {
                        "task": {"name": "Text Classification", "type": "text-classification"},
                        "dataset": {"name": "Films", "type": "films"},
                        "metrics": [
                            {"name": "Loss", "type": "loss", "value": loss},
                            {"name": "Accuracy", "type": "accuracy", "value": 0.75},
                        ],
                    }
                ],
            }
        ],
    }
    assert "\n# critic\n" in text
    assert "- Accuracy: 0.7500" in text
    assert "- learning_rate: 5e-05" in text
    assert "- total_train_batch_size: 3" in text
    assert "| Training loss | Epoch | Step | Validation loss | Accuracy |" in text
    assert f"- torch {torch.__version__.partition('+')[0]}" in text


def test_a_card_keeps_its_tags_and_what_a_person_wrote_stays(
    hub: Hub, build: Callable[..., Trainer], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer, path = build(waits=False, push_to_hub=False), tmp_path / "run" / "README.md"
    trainer.create_model_card(tags="first")
    trainer.create_model_card(tags="second")
    assert "tags:\n- second\n- first\n- generated_from_trainer" in path.read_text()
    path.write_text("# Mine\n")
    trainer.create_model_card()
    assert path.read_text() == "# Mine\n"
    assert "stays as it is" in caplog.text
