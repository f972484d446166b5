from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from lt_trainer.tokenization import AutoTokenizer

if TYPE_CHECKING:
    from pathlib import Path

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ '<' + m['role'] + '>' }}{% if m['role'] == 'assistant' %}"
    "{% generation %}{{ m['content'] | trim }}{{ eos_token }}{% endgeneration %}"
    "{% else %}{{ m['content'] }}{% endif %}\n{% endfor %}"
    "{% if tools %}[{{ tools | tojson }}]{% endif %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
CHAT = [
    {"role": "user", "content": "Two men play chess."},
    {"role": "assistant", "content": "A good story.", "tool_calls": None},
    {"role": "user", "content": "And 3 children?"},
    {"role": "assistant", "content": "They watch."},
]
OTHER = [{"role": "user", "content": "A film"}, {"role": "assistant", "content": "is long."}]


@pytest.fixture
def ours(folders: dict[str, Path]) -> Any:
    return AutoTokenizer.from_pretrained(folders["bpe"], chat_template=TEMPLATE)


@pytest.fixture
def theirs(folders: dict[str, Path]) -> Any:
    transformers = pytest.importorskip("transformers")
    return transformers.AutoTokenizer.from_pretrained(folders["bpe"], chat_template=TEMPLATE)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"add_generation_prompt": True},
        {"tokenize": False},
        {"tokenize": False, "continue_final_message": True},
        {"tools": [{"name": "f", "parameters": {"x": "<int>"}}], "tokenize": False},
        {"return_dict": False},
        {"return_assistant_tokens_mask": True},
        {"return_assistant_tokens_mask": True, "truncation": True, "max_length": 20},
        {"truncation": True, "max_length": 5},
        {"bos_token": "B", "tokenize": False},
        {"chat_template": "{{ messages | length }}", "tokenize": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("conversation", [CHAT, [CHAT, OTHER]], ids=["one", "two"])
def test_text_ids_and_masks_are_those_of_transformers(ours: Any, theirs: Any, conversation: Any, options: Any) -> None:
    mine, reference = (x.apply_chat_template(conversation, **options) for x in (ours, theirs))
    assert (mine if isinstance(mine, str | list) else dict(mine)) == (
        reference if isinstance(reference, str | list) else dict(reference)
    )


def test_tensors_are_those_of_transformers(ours: Any, theirs: Any) -> None:
    options = {"return_tensors": "np", "padding": True, "return_assistant_tokens_mask": True}
    mine, reference = (x.apply_chat_template([CHAT, OTHER], **options) for x in (ours, theirs))
    assert {name: values.tolist() for name, values in mine.items()} == {n: v.tolist() for n, v in reference.items()}
    assert mine["assistant_masks"].sum() > 0


def test_what_an_assistant_wrote_is_marked(ours: Any) -> None:
    out = ours.apply_chat_template(CHAT, return_assistant_tokens_mask=True)
    kept = [token for token, marked in zip(out["input_ids"], out["assistant_masks"], strict=True) if marked]
    end = ours.eos_token
    assert ours.decode(kept) == f"A good story.{end}They watch.{end}"


def test_the_caller_keeps_the_messages(ours: Any) -> None:
    before = json.dumps(CHAT)
    ours.apply_chat_template(CHAT, continue_final_message=True)
    assert json.dumps(CHAT) == before


def test_a_message_that_goes_on_has_no_end(ours: Any) -> None:
    text = ours.apply_chat_template(CHAT, tokenize=False, continue_final_message=True)
    assert text.endswith("<assistant>They watch.")


# --- which template ---------------------------------------------------------------------------------------------------


def test_a_template_is_chosen_by_its_name(ours: Any) -> None:
    ours.chat_template = {"default": "D", "tool_use": "T", "other": "O"}
    assert ours.get_chat_template() == "D"
    assert ours.get_chat_template(tools=[{}]) == "T"
    assert ours.get_chat_template("other") == "O"
    assert ours.get_chat_template("{{ 1 }}") == "{{ 1 }}"


def test_templates_of_older_files_are_a_list(folders: dict[str, Path], tmp_path: Path) -> None:
    for name in ("tokenizer.json", "config.json"):
        (tmp_path / name).write_bytes((folders["bpe"] / name).read_bytes())
    settings = json.loads((folders["bpe"] / "tokenizer_config.json").read_text())
    settings["chat_template"] = [{"name": "default", "template": "A"}, {"name": "rag", "template": "B"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer.get_chat_template() == "A"
    assert tokenizer.apply_chat_template(CHAT, chat_template="rag", tokenize=False) == "B"


def test_a_template_goes_to_its_file_and_back(ours: Any, tmp_path: Path) -> None:
    ours.save_pretrained(tmp_path)
    assert (tmp_path / "chat_template.jinja").read_text() == TEMPLATE
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again.apply_chat_template(CHAT, tokenize=False) == ours.apply_chat_template(CHAT, tokenize=False)


# --- bad input --------------------------------------------------------------------------------------------------------


def test_without_a_template_the_error_says_what_to_do(folders: dict[str, Path]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folders["bpe"])
    with pytest.raises(ValueError, match="no chat template: pass chat_template"):
        tokenizer.apply_chat_template(CHAT)
    tokenizer.chat_template = {"a": "A", "b": "B"}
    with pytest.raises(ValueError, match=r"several templates, \['a', 'b'\], and none named 'default'"):
        tokenizer.apply_chat_template(CHAT)


@pytest.mark.parametrize("conversation", [[], "hello", [["hello"]], [[{"content": "x"}]], {"role": "user"}])
def test_what_is_no_chat_is_refused(ours: Any, conversation: Any) -> None:
    with pytest.raises(ValueError, match=r"expected .*messages.*'role' and 'content'"):
        ours.apply_chat_template(conversation)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"continue_final_message": True, "add_generation_prompt": True}, "add_generation_prompt=True exclude"),
        ({"continue_final_message": True, "return_assistant_tokens_mask": True}, "_mask=True exclude each other"),
        ({"return_assistant_tokens_mask": True, "tokenize": False}, "expected tokenize=True"),
        ({"return_assistant_tokens_mask": True, "chat_template": "{{ messages }}"}, "no token would count"),
        ({"continue_final_message": True, "chat_template": "{{ messages[0] }}"}, "leaves the last message out"),
        ({"chat_template": "{{ raise_exception('no system') }}"}, "no system"),
    ],
)
def test_settings_that_cannot_be_are_refused(ours: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ours.apply_chat_template(CHAT, **options)


def test_a_template_sees_plain_data_alone(ours: Any) -> None:
    class Image:
        def save(self) -> str:
            raise AssertionError

    chat = [{"role": "user", "content": [{"type": "image", "image": Image()}]}]
    text = ours.apply_chat_template(chat, chat_template="{{ messages[0].content[0].image }}", tokenize=False)
    assert text == "<Image>"
