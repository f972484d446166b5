"""The tokenizers of families by their public names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

from lt_trainer.tokenization import options as opt
from lt_trainer.tokenization.auto import AutoTokenizer
from lt_trainer.tokenization.families import BERT, DISTILBERT, ELECTRA, GPT2, LLAMA, ROBERTA, T5, Family
from lt_trainer.tokenization.loading import KINDS, family_defaults, load_tokenizer
from lt_trainer.tokenization.reading import Files
from lt_trainer.tokenization.tokenizer import PreTrainedTokenizerFast

if TYPE_CHECKING:
    import os

    from tokenizers import Tokenizer


class _OfFamily(PreTrainedTokenizerFast):
    """A tokenizer of one family: what AutoTokenizer makes, by its public name.

    Args:
        vocab_file: vocab.txt, vocab.json, or a sentencepiece model; as the family has it.
        merges_file: merges.txt, beside a vocab.json.
        tokenizer_file: A tokenizer.json instead.
        tokenizer_object: A `tokenizers.Tokenizer` instead.
        **options: Special tokens and settings; see `TokenizerOptions`.
    """

    family: ClassVar[Family]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        KINDS[cls.family.name] = cls

    def __init__(
        self,
        vocab_file: str | os.PathLike[str] | None = None,
        merges_file: str | os.PathLike[str] | None = None,
        tokenizer_file: str | os.PathLike[str] | None = None,
        tokenizer_object: Tokenizer | None = None,
        **options: Unpack[opt.TokenizerOptions],
    ) -> None:
        if tokenizer_object is not None or (vocab_file is None and tokenizer_file is None):
            known = {**family_defaults(self.family, tokenizer_object), **options} if tokenizer_object else options
            super().__init__(tokenizer_object, **known)
            return
        opt.check_names(options)
        path = Path(str(tokenizer_file or vocab_file))
        files = Files(path.parent, path if vocab_file is None else None, None)
        if vocab_file is not None and merges_file is not None:
            files.byte_level = path, Path(str(merges_file))
        elif vocab_file is not None and self.family.wordpiece:
            files.vocab_txt = path
        elif vocab_file is not None:
            files.sentencepiece = path
        made = load_tokenizer(files, "", {**options, "tokenizer_class": self.family.name})
        self.__dict__.update(made.__dict__)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str], **options: Any) -> Any:
        """As AutoTokenizer's, whose options these are; the folder need not name the family."""
        options.setdefault("tokenizer_class", cls.family.name)
        return AutoTokenizer.from_pretrained(pretrained_model_name_or_path, **options)


class BertTokenizer(_OfFamily):
    """WordPiece with BERT's cleaning of text."""

    family = BERT


class DistilBertTokenizer(_OfFamily):
    """As BERT's, without token types."""

    family = DISTILBERT


class ElectraTokenizer(_OfFamily):
    """As BERT's."""

    family = ELECTRA


class RobertaTokenizer(_OfFamily):
    """Byte-level BPE with <s> and </s> around a text."""

    family = ROBERTA


class GPT2Tokenizer(_OfFamily):
    """Byte-level BPE with nothing around a text."""

    family = GPT2


class T5Tokenizer(_OfFamily):
    """Unigram pieces, </s> behind a text, and sentinels."""

    family = T5


class LlamaTokenizer(_OfFamily):
    """Pieces merged by their scores, with bytes for what has none."""

    family = LLAMA


BertTokenizerFast = BertTokenizer
DistilBertTokenizerFast = DistilBertTokenizer
ElectraTokenizerFast = ElectraTokenizer
RobertaTokenizerFast = RobertaTokenizer
GPT2TokenizerFast = GPT2Tokenizer
T5TokenizerFast = T5Tokenizer
LlamaTokenizerFast = LlamaTokenizer
