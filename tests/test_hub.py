"""To the hub, with the real client and a hub on loopback: what it gets, and what is said when it refuses."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

import pytest

from lt_trainer import AutoModelForSequenceClassification, AutoTokenizer
from lt_trainer.hub import HubError, HubRepository, tagged_card

if TYPE_CHECKING:
    from pathlib import Path

    from tests.hub_server import Hub

SECRET = "hf_verysecret"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_text(f"content of {name}")
    return {name: tmp_path / name for name in ("config.json", "model.safetensors")}


def refused(repository: HubRepository, call: str = "create", *args: object) -> HubError:
    with pytest.raises(HubError) as caught:
        getattr(repository, call)(*args)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__cause__ is caught.value.__context__ is None
    return caught.value


def test_files_arrive_as_one_commit(hub: Hub, files: dict[str, Path]) -> None:
    repository = HubRepository("model")
    assert repository.create() == "me/model"
    commit = repository.commit(files, "first")
    assert commit.commit_url == f"{hub.url}/me/model/commit/{1:040d}"
    assert hub.repositories["me/model"].messages == ["first"]
    assert hub.repositories["me/model"].files() == {name: path.read_bytes() for name, path in files.items()}


def test_a_repository_that_is_there_is_taken_as_it_is(hub: Hub) -> None:
    assert HubRepository("team/model").create(private=True) == "team/model"
    assert HubRepository("team/model").create(private=False) == "team/model"
    assert hub.repositories["team/model"].private is True


def test_a_branch_is_made_and_pushed_to(hub: Hub, files: dict[str, Path]) -> None:
    for message in ("first", "second"):
        repository = HubRepository("me/model", revision="dev")
        repository.create()
        repository.commit(files, message)
    assert hub.repositories["me/model"].branches == {"main", "dev"}
    assert set(hub.repositories["me/model"].files("dev")) == set(files)
    assert hub.repositories["me/model"].files("main") == {}


def test_the_token_is_the_one_given_or_that_of_the_environment(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    HubRepository("a", SECRET).create()
    monkeypatch.setenv("HF_TOKEN", "hf_of_environment")
    HubRepository("b").create()
    assert hub.tokens == [SECRET, "hf_of_environment"]


def test_a_token_that_the_hub_repeats_is_taken_out(hub: Hub) -> None:
    hub.token = "another"
    error = refused(HubRepository("me/model", SECRET))
    assert "(me/model): 401" in str(error)
    assert "***" in str(error)
    assert "hf auth login" in str(error)
    assert error.is_refusal
    assert len(hub.requests) <= 2  # not tried again


@pytest.mark.parametrize(
    ("status", "remedy"),
    [(401, "hf auth login"), (402, "hub_private_repo"), (403, "may write"), (404, "correct hub_model_id")],
)
def test_refusals_say_what_to_do_and_are_not_tried_again(
    hub: Hub, files: dict[str, Path], status: int, remedy: str
) -> None:
    repository = HubRepository("me/model", SECRET)
    repository.create()
    hub.fail("commit", status=status, times=9, message="You may not")
    error = refused(repository, "commit", files, "first")
    assert str(error).startswith(f"the hub did not upload 2 files (me/model): {status}, ")
    assert remedy in str(error)
    assert "\n" not in str(error)
    assert sum("commit" in request for request in hub.requests) == 1


@pytest.mark.parametrize("place", ["preupload", "batch", "PUT", "/commit/"])
@pytest.mark.parametrize("status", [500, 503, 0])
def test_what_passes_is_tried_again(hub: Hub, files: dict[str, Path], place: str, status: int) -> None:
    repository = HubRepository("me/model")
    repository.create()
    hub.fail(place, status=status, times=2)
    repository.commit(files, "first")
    assert hub.repositories["me/model"].messages == ["first"]
    assert set(hub.repositories["me/model"].files()) == set(files)


def test_a_commit_that_another_overtook_is_tried_again(hub: Hub, files: dict[str, Path]) -> None:
    repository = HubRepository("me/model")
    repository.create()
    hub.fail("/commit/", status=412)
    repository.commit(files, "first")
    assert hub.repositories["me/model"].messages == ["first"]


def test_what_does_not_pass_is_told(hub: Hub, files: dict[str, Path]) -> None:
    repository = HubRepository("me/model")
    repository.create()
    hub.fail("/commit/", status=500, times=99)
    error = refused(repository, "commit", files, "first")
    assert "500" in str(error)
    assert not error.is_refusal
    assert sum("/commit/" in request for request in hub.requests) == 3  # as often as WAITS and one more


def test_a_hub_that_is_not_there_is_told(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    error = refused(HubRepository("me/model"))
    assert "Connection refused" in str(error)
    assert "check the network and HF_ENDPOINT" in str(error)
    assert not error.is_refusal


def test_offline_is_told(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    error = refused(HubRepository("me/model"))
    assert "HF_HUB_OFFLINE is set; unset it" in str(error)


def test_a_name_that_is_none_is_told(hub: Hub) -> None:
    error = refused(HubRepository("a/b/c"))
    assert "hub_model_id: expected 'name' or 'owner/name'" in str(error)
    assert hub.requests == []


def test_models_and_tokenizers_go_to_the_hub(hub: Hub, tiny_bert) -> None:
    folder = tiny_bert(head="sequence")
    AutoModelForSequenceClassification.from_pretrained(folder).push_to_hub("tiny", private=True, tags=["small"])
    AutoTokenizer.from_pretrained(folder).push_to_hub("me/tiny", commit_message="words", token=SECRET)
    repository = hub.repositories["me/tiny"]
    assert repository.private
    assert repository.messages == ["Upload model", "words"]
    assert {"README.md", "config.json", "model.safetensors"} == set(repository.commits[0].files)
    assert "tags:\n- small" in repository.commits[0].files["README.md"].decode()
    assert {"tokenizer.json", "tokenizer_config.json"} == set(repository.commits[1].files)
    assert hub.tokens[-1] == SECRET


def test_a_card_that_is_there_gets_what_it_lacks() -> None:
    before = "---\nlicense: mit\ntags:\n- a\n---\n\n# By hand\n"
    assert tagged_card(before, "me/model", None) is None
    assert tagged_card(before, "me/model", ["a"]) is None
    after = tagged_card(before, "me/model", ["b", "a"])
    assert after is not None
    assert "license: mit\ntags:\n- a\n- b\n" in after
    assert after.endswith("# By hand\n")
