"""Chats to text and ids: the template that belongs to a tokenizer says what stands around each message."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lt_trainer.tokenization.saving import Saver

if TYPE_CHECKING:
    from collections.abc import Sequence
    from enum import Enum

    from lt_trainer.tokenization.batch import BatchEncoding

Message = Mapping[str, Any]
_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
_CUT = "\ue000 "  # stands behind the message that is to go on; the space shows whether the template trims


class Chat(Saver):
    """Applying chat templates."""

    def get_chat_template(self, chat_template: str | None = None, tools: Sequence[Any] | None = None) -> str:
        """The template that applies.

        Args:
            chat_template: a template, or the name of one of the tokenizer's; None = the tokenizer's.
            tools: with them the template named "tool_use" is taken where there is one.

        Raises:
            ValueError: there is none, or several and none is named.
        """
        own = named_templates(self.chat_template)
        if chat_template is not None:
            return own.get(chat_template, chat_template)
        if tools is not None and "tool_use" in own:
            return own["tool_use"]
        if "default" not in own:
            held = f"several templates, {sorted(own)}, and none named 'default'" if own else "no chat template"
            raise ValueError(f"the tokenizer has {held}: pass chat_template=..., or set tokenizer.chat_template")
        return own["default"]

    def apply_chat_template(
        self,
        conversation: Sequence[Message] | Sequence[Sequence[Message]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        documents: Sequence[Mapping[str, str]] | None = None,
        chat_template: str | None = None,
        add_generation_prompt: bool = False,
        continue_final_message: bool = False,
        tokenize: bool = True,
        padding: bool | str | Enum = False,
        truncation: bool = False,
        max_length: int | None = None,
        return_tensors: str | Enum | None = None,
        return_dict: bool = True,
        return_assistant_tokens_mask: bool = False,
        tokenizer_kwargs: Mapping[str, Any] | None = None,
        **variables: Any,
    ) -> str | list[str] | list[int] | list[list[int]] | BatchEncoding:
        """Writes one chat or several as the model was trained to read them.

        Args:
            conversation: messages, each with `role` and `content`; or several such chats.
            tools: JSON schemas of functions that the model may call.
            documents: texts that the model may look into.
            chat_template: see `get_chat_template`.
            add_generation_prompt: ends with what begins an assistant's message.
            continue_final_message: leaves the last message open, to be gone on with.
            tokenize: False returns text.
            padding: see `__call__`, as are the next three.
            truncation: cuts to `max_length`.
            max_length: in tokens.
            return_tensors: "pt" or "np".
            return_dict: False returns the ids alone.
            return_assistant_tokens_mask: adds `assistant_masks`, 1 for tokens inside the template's `generation`
                blocks: what an assistant wrote.
            tokenizer_kwargs: further arguments of `__call__`.
            variables: further variables of the template.

        Returns:
            What `tokenize` and `return_dict` say; lists of it for several chats.

        Raises:
            ValueError: no messages, no template, one that refuses the chat, or arguments that exclude each other.
        """
        template = self.get_chat_template(chat_template, tools)
        _check(conversation, template, add_generation_prompt, continue_final_message, return_assistant_tokens_mask)
        if return_assistant_tokens_mask and not (tokenize and return_dict):
            raise ValueError("return_assistant_tokens_mask=True: expected tokenize=True and return_dict=True beside it")
        several = not isinstance(conversation[0], Mapping)
        chats: Sequence[Any] = conversation if several else [conversation]
        shared = {"tools": tools, "documents": documents, **self.special_tokens_map, **variables}
        shared = {name: plain(value) for name, value in shared.items()}
        texts, spans = [], []
        for chat in chats:
            values = {**shared, "messages": plain(chat), "add_generation_prompt": add_generation_prompt}
            text, noted = _rendered(template, values, continue_final_message)
            texts.append(text)
            spans.append(noted)
        if not tokenize:
            return texts if several else texts[0]
        out: BatchEncoding = self(
            texts if several or return_tensors is not None else texts[0],
            add_special_tokens=False,
            padding=padding,
            truncation=truncation,
            max_length=max_length,
            return_tensors=return_tensors,
            **(tokenizer_kwargs or {}),
        )
        if return_assistant_tokens_mask:
            rows = out["input_ids"] if several or return_tensors is not None else [out["input_ids"]]
            masks = [_mask(out, row, len(ids), spans[row]) for row, ids in enumerate(rows)]
            out["assistant_masks"] = masks if several or return_tensors is not None else masks[0]
            out.convert_to_tensors(return_tensors)
        return out if return_dict else out["input_ids"]


def named_templates(value: Any) -> dict[str, str]:
    """Templates by their names, from what a tokenizer holds: one text, or several with names (older files: a list)."""
    if value is None:
        return {}
    if isinstance(value, str):
        return {"default": value}
    if isinstance(value, list):
        return {str(item["name"]): str(item["template"]) for item in value}
    return {str(name): str(template) for name, template in value.items()}


def plain(value: Any) -> Any:
    """Plain data alone: a template that a stranger wrote gets no object with methods; None entries are left out."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return f"<{type(value).__name__}>"


def _check(conversation: Sequence[Any], template: str, prompt: bool, continues: bool, wants_mask: bool) -> None:
    if not isinstance(conversation, list | tuple) or not conversation:
        raise ValueError(
            f"conversation={conversation!r:.80}: expected a list of messages, each with 'role' and 'content'"
        )
    chats = [conversation] if isinstance(conversation[0], Mapping) else conversation
    for number, chat in enumerate(chats):
        for message in chat:
            if not isinstance(message, Mapping) or "role" not in message:
                raise ValueError(
                    f"chat {number}: expected messages with 'role' and 'content', received {message!r:.80}: "
                    "give each message as {'role': 'user', 'content': '...'}"
                )
    if continues and (prompt or wants_mask):
        other = "add_generation_prompt" if prompt else "return_assistant_tokens_mask"
        raise ValueError(f"continue_final_message=True and {other}=True exclude each other: leave one of them out")
    if wants_mask and not _GENERATION.search(template):
        raise ValueError(
            "return_assistant_tokens_mask=True: the template has no {% generation %} block, so no token would count as "
            "the assistant's: put one around what the assistant writes"
        )


def _rendered(template: str, values: dict[str, Any], continues: bool) -> tuple[str, list[tuple[int, int]]]:
    from lt_trainer.tokenization.sandbox import render

    if not continues:
        return render(template, values)
    last = values["messages"][-1]
    if not isinstance(last.get("content"), str):
        raise ValueError(
            f"continue_final_message=True: expected a last message with text to go on with, received {last!r:.80}"
        )
    last["content"] += _CUT
    text, noted = render(template, values)
    head, cut, tail = text.rpartition(_CUT.strip())
    if not cut:
        raise ValueError("continue_final_message=True: the template leaves the last message out, expected it in full")
    return (head if tail.startswith(" ") else head.rstrip()), noted


def _mask(out: BatchEncoding, row: int, length: int, spans: list[tuple[int, int]]) -> list[int]:
    """1 for the tokens of a row that the spans of its text hold."""
    mask = [0] * length
    for start, end in spans:
        first = out.char_to_token(row, start)
        if first is None:  # cut off
            break
        last = out.char_to_token(row, end - 1)
        for place in range(first, length if last is None else last + 1):
            mask[place] = 1
    return mask
