"""Chats: what of a text that a template writes is the assistant's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lt_trainer.data.collators import IGNORED_LABEL

if TYPE_CHECKING:
    from collections.abc import Sequence

Span = tuple[int, int]
ASSISTANT = "assistant"


def answer_spans(tokenizer: Any, messages: Any, where: str, *, may_wait: bool = False) -> tuple[str, list[Span]]:
    """The text of a chat, and the characters of it that an assistant would have to write.

    A turn begins where the template's own invitation to answer ends (`add_generation_prompt`), and goes to the end of
    what the template writes for it, its end token included.

    Args:
        tokenizer: with a chat template.
        messages: a list of {"role": ..., "content": ...}.
        where: the row, for the errors.
        may_wait: a chat may end with another's message: then the text ends with the invitation, and nothing is marked.

    Returns:
        (text, [(first character, behind the last)]).

    Raises:
        ValueError: no template, no messages, no answer among them, or a template that rewrites what it wrote before.
    """
    if not tokenizer.chat_template:
        raise ValueError(
            f"{where}: a chat needs a template: expected tokenizer.chat_template, received None: set it, or write the "
            "chats as prompt and completion"
        )
    if not isinstance(messages, list) or not all(
        isinstance(m, dict) and {"role", "content"} <= m.keys() for m in messages
    ):
        raise ValueError(
            f"{where}: expected messages, a list of {{'role': ..., 'content': ...}}, received {messages!r:.120}: "
            "correct the row"
        )
    waits = may_wait and bool(messages) and messages[-1]["role"] != ASSISTANT
    if not waits and not any(message["role"] == ASSISTANT for message in messages):
        raise ValueError(
            f"{where}: expected a message with role {ASSISTANT!r}, received the roles "
            f"{[message['role'] for message in messages]}: without one there is nothing to learn; remove the row"
        )

    def write(part: Sequence[Any], invite: bool = False) -> str:
        text: str = tokenizer.apply_chat_template(part, tokenize=False, add_generation_prompt=invite)
        return text

    if waits:
        return write(messages, invite=True), []
    text, spans = write(messages), []
    for number, message in enumerate(messages):
        if message["role"] == ASSISTANT:
            before, after = write(messages[:number], invite=True) if number else "", write(messages[: number + 1])
            if not (text.startswith(after) and after.startswith(before)):
                raise ValueError(
                    f"{where}: the chat template writes message {number} in another way where the chat ends with it: "
                    "expected a template that only adds: give the rows as prompt and completion"
                )
            spans.append((len(before), len(after)))
    return text, spans


def labels_in(ids: Sequence[int], offsets: Sequence[Span], spans: Sequence[Span]) -> list[int]:
    """Labels of a text's tokens: the token itself inside a span, -100 outside.

    >>> labels_in([7, 8, 9], [(0, 2), (2, 5), (5, 6)], [(2, 5)])
    [-100, 8, -100]
    """
    labels = [IGNORED_LABEL] * len(ids)
    for first, last in spans:
        for place, (start, end) in enumerate(offsets):
            if first <= start and end <= last and start < last:
                labels[place] = ids[place]
    return labels
