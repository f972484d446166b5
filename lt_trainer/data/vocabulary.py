"""A WordPiece vocabulary from a handful of texts, for models that start from scratch."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

SCRATCH = "scratch"  # in place of a name: a small model with fresh weights, a tokenizer with the words of the data
SENTENCE_TOKENS = ("<pad>", "</s>", "<unk>")
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def word_vocabulary(texts: Iterable[str], *, size: int = 8000, min_count: int = 2) -> list[str]:
    """Returns the commonest words of lower-cased texts, and the letters to spell all others with.

    Whole words instead of trained pieces: a few thousand rows teach a small model more about words that it sees than
    about pieces, and the result is the same on every run, which the trainer of `tokenizers` does not promise.

    Args:
        texts: what the model will learn from.
        size: most tokens, special tokens and letters included.
        min_count: a word that occurs less often is spelled.

    Returns:
        Tokens in the order of their ids: the special tokens, letters alone and within a word, words.
    """
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer

    normalizer, pre_tokenizer = BertNormalizer(lowercase=True), BertPreTokenizer()
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(word for word, _ in pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(text)))
    letters = sorted({letter for word in counts for letter in word})
    spelling = letters + [f"##{letter}" for letter in letters]
    ranked = sorted((-count, word) for word, count in counts.items() if count >= min_count and len(word) > 1)
    words = [word for _, word in ranked[: max(0, size - len(SPECIAL_TOKENS) - len(spelling))]]
    return [*SPECIAL_TOKENS, *spelling, *words]


def write_bert_vocabulary(folder: str | Path, vocabulary: list[str], *, model_max_length: int) -> None:
    """Writes vocab.txt and tokenizer_config.json, of which `AutoTokenizer.from_pretrained` makes a tokenizer."""
    folder = Path(folder)
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": model_max_length}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def scratch_tokenizer(texts: Iterable[str], *, model_max_length: int = 128) -> Any:
    """A BERT tokenizer with the words of some texts."""
    from lt_trainer.tokenization import AutoTokenizer

    with tempfile.TemporaryDirectory() as folder:
        write_bert_vocabulary(folder, word_vocabulary(texts), model_max_length=model_max_length)
        return AutoTokenizer.from_pretrained(folder)


def sentence_tokenizer(texts: Iterable[str], *, size: int = 8000, min_count: int = 2) -> Any:
    """A tokenizer that keeps case and writes text as it was, with </s> behind each: for a T5 from scratch.

    Its tokens are the commonest words and punctuation marks, and the letters to spell all others with.

    Args:
        texts: what the model will read and write.
        size: most tokens.
        min_count: a word that occurs less often is spelled.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    from lt_trainer.tokenization import AutoTokenizer

    cut = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation()])
    counts: Counter[str] = Counter(word for text in texts for word, _ in cut.pre_tokenize_str(text))
    letters = sorted({letter for word in counts for letter in word})
    ranked = sorted((-count, word) for word, count in counts.items() if count >= min_count and len(word) > 1)
    tokens = [*SENTENCE_TOKENS, *letters, *(word for _, word in ranked)][:size]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="<unk>", continuing_subword_prefix=""))
    tokenizer.pre_tokenizer, tokenizer.decoder = cut, decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", vocabulary["</s>"])]
    )
    tokenizer.add_special_tokens(list(SENTENCE_TOKENS))
    named = dict(zip(("pad_token", "eos_token", "unk_token"), SENTENCE_TOKENS, strict=True))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512, **named}
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save(f"{folder}/tokenizer.json")
        (Path(folder) / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
        return AutoTokenizer.from_pretrained(folder)
