"""What a tokenizer class of `transformers` adds to its files: one row a class.

tokenizer.json is nearly all of a tokenizer. The rest was in code: special tokens that a file need not name, the inputs
that the model takes, and settings in tokenizer_config.json that win over tokenizer.json.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tokenizers import normalizers, pre_tokenizers, processors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenizers import Tokenizer


@dataclass(frozen=True)
class Family:
    """A tokenizer class.

    Attributes:
        name: As tokenizer_config.json calls it.
        special_tokens: Those that apply where the files name none and the vocabulary has them.
        model_input_names: The columns that a call returns.
        wordpiece: Whether a vocab.txt makes one, with BERT's normalizer.
        byte_level: Whether `add_prefix_space` applies.
    """

    name: str
    special_tokens: dict[str, str] = field(default_factory=dict)
    model_input_names: tuple[str, ...] = ("input_ids", "attention_mask")
    wordpiece: bool = False
    byte_level: bool = False


_BERT_TOKENS = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
_ROBERTA_TOKENS = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "sep_token": "</s>",
    "pad_token": "<pad>",
    "cls_token": "<s>",
    "mask_token": "<mask>",
}
_END_OF_TEXT = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")

GENERIC = Family("PreTrainedTokenizerFast")
BERT = Family("BertTokenizer", _BERT_TOKENS, ("input_ids", "token_type_ids", "attention_mask"), wordpiece=True)
DISTILBERT = Family("DistilBertTokenizer", _BERT_TOKENS, wordpiece=True)
ELECTRA = Family("ElectraTokenizer", _BERT_TOKENS, BERT.model_input_names, wordpiece=True)
ROBERTA = Family("RobertaTokenizer", _ROBERTA_TOKENS, byte_level=True)
GPT2 = Family("GPT2Tokenizer", _END_OF_TEXT, byte_level=True)
T5 = Family("T5Tokenizer", {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"})
LLAMA = Family("LlamaTokenizer", {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"})

BY_CLASS = {family.name: family for family in (BERT, DISTILBERT, ELECTRA, ROBERTA, GPT2, T5, LLAMA)}
BY_MODEL_TYPE = {
    "bert": BERT,
    "distilbert": DISTILBERT,
    "electra": ELECTRA,
    "roberta": ROBERTA,
    "gpt2": GPT2,
    "t5": T5,
    "llama": LLAMA,
}


def find_family(tokenizer_class: str | None, model_type: str | None) -> Family:
    """The family of a folder: by the class that its files name, else by its model's type, else the generic one."""
    if tokenizer_class is not None:
        return BY_CLASS.get(tokenizer_class.removesuffix("Fast"), GENERIC)
    return BY_MODEL_TYPE.get(model_type or "", GENERIC)


def apply_settings(backend: Tokenizer, family: Family, settings: Mapping[str, Any]) -> None:
    """Let tokenizer_config.json and the caller win over tokenizer.json, where the class in `transformers` does.

    For BERT's classes the case, accents and Chinese characters (a missing `do_lower_case` is True there, whatever
    tokenizer.json says); for byte-level ones the space before the first word.
    """
    if family.wordpiece and isinstance(backend.normalizer, normalizers.BertNormalizer | None):
        backend.normalizer = bert_normalizer(settings)
    if "add_prefix_space" in settings and (family.byte_level or settings["add_prefix_space"]):
        _set_prefix_space(backend, bool(settings["add_prefix_space"]))


def bert_normalizer(settings: Mapping[str, Any]) -> normalizers.Normalizer:
    """BERT's cleaning of text: `do_lower_case`, `strip_accents` (None: as the case), `tokenize_chinese_chars`."""
    return normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=bool(settings.get("tokenize_chinese_chars", True)),
        strip_accents=settings.get("strip_accents"),
        lowercase=bool(settings.get("do_lower_case", True)),
    )


def _set_prefix_space(backend: Tokenizer, wanted: bool) -> None:
    pre = backend.pre_tokenizer
    if not isinstance(pre, pre_tokenizers.ByteLevel) or pre.add_prefix_space == wanted:
        return
    pre.add_prefix_space = wanted
    backend.pre_tokenizer = pre
    post: Any = backend.post_processor
    if isinstance(post, processors.RobertaProcessing):
        post.add_prefix_space = wanted
        backend.post_processor = post
