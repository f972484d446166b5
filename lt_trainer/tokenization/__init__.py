"""Tokenizers over the `tokenizers` library, with the call signature and the folders of `transformers`.

`auto.py` finds the files, `reading.py` and `older.py` make a Rust tokenizer of them, `loading.py` adds what its
family has, `tokenizer.py` is the class that people hold, `classes.py` has its kinds by name.
What it does is spread over its bases, each on top of the one before: `special.py` (named tokens), `vocabulary.py`
(tokens and ids), `encoding.py` (text to ids), `padding.py` (rows to a rectangle), `decoding.py` (ids to text),
`template.py` (what stands around a row), `saving.py` (back to files) and `chat.py` (chats to text).
"""

from __future__ import annotations

from lt_trainer.tokenization.auto import AutoTokenizer
from lt_trainer.tokenization.batch import BatchEncoding, CharSpan, TokenSpan
from lt_trainer.tokenization.classes import (
    BertTokenizer,
    BertTokenizerFast,
    DistilBertTokenizer,
    DistilBertTokenizerFast,
    ElectraTokenizer,
    ElectraTokenizerFast,
    GPT2Tokenizer,
    GPT2TokenizerFast,
    LlamaTokenizer,
    LlamaTokenizerFast,
    RobertaTokenizer,
    RobertaTokenizerFast,
    T5Tokenizer,
    T5TokenizerFast,
)
from lt_trainer.tokenization.tokenizer import PreTrainedTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

__all__ = [
    "AutoTokenizer",
    "BatchEncoding",
    "BertTokenizer",
    "BertTokenizerFast",
    "DistilBertTokenizer",
    "DistilBertTokenizerFast",
    "ElectraTokenizer",
    "ElectraTokenizerFast",
    "GPT2Tokenizer",
    "GPT2TokenizerFast",
    "LlamaTokenizer",
    "LlamaTokenizerFast",
    "RobertaTokenizer",
    "RobertaTokenizerFast",
    "T5Tokenizer",
    "T5TokenizerFast",
    "CharSpan",
    "PreTrainedTokenizer",
    "PreTrainedTokenizerBase",
    "PreTrainedTokenizerFast",
    "TokenSpan",
]
