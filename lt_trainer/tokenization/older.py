"""Tokenizers of folders without a tokenizer.json: vocab.txt, vocab.json with merges.txt, and sentencepiece models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from lt_trainer.tokenization.bounds import check_bounds
from lt_trainer.tokenization.families import GPT2, LLAMA, ROBERTA, T5, Family, bert_normalizer
from lt_trainer.tokenization.options import as_token
from lt_trainer.tokenization.rust import rust_errors

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_UNIGRAM, _BPE = 1, 2  # kinds of model in a sentencepiece file
_CONTROL, _USER = 3, 4  # kinds of piece
_SPACE = "▁"


def wordpiece_backend(path: Path, family: Family, settings: Mapping[str, Any]) -> Tokenizer:
    """BERT's tokenizer of a vocab.txt: one token a line, the line's number is the id.

    Raises:
        ValueError: If the file is not text, or lacks the unknown, the class or the separator token.
    """
    with rust_errors(f"{path}: not a vocabulary of one token a line"):
        vocab = models.WordPiece.read_file(str(path))
    tokens = _tokens(family, settings)
    for name in ("unk_token", "cls_token", "sep_token"):
        _require(path, vocab, name, tokens[name], "BERT's")
    backend = Tokenizer(models.WordPiece(vocab, unk_token=tokens["unk_token"]))
    backend.normalizer = bert_normalizer(settings)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    first, last = tokens["cls_token"], tokens["sep_token"]
    backend.post_processor = processors.TemplateProcessing(
        single=f"{first}:0 $A:0 {last}:0",
        pair=f"{first}:0 $A:0 {last}:0 $B:1 {last}:1",
        special_tokens=[(first, vocab[first]), (last, vocab[last])],
    )
    return backend


def byte_level_backend(vocab_json: Path, merges_txt: Path, family: Family, settings: Mapping[str, Any]) -> Tokenizer:
    """The byte-level BPE of GPT-2 and RoBERTa: tokens with their ids, and pairs in the order in which they merge.

    Raises:
        ValueError: If a file is not what its name says, or the vocabulary lacks the tokens around RoBERTa's texts.
    """
    with rust_errors(f"{vocab_json} and {merges_txt.name}: not a vocabulary with its merges"):
        vocab, merges = models.BPE.read_file(str(vocab_json), str(merges_txt))
        backend = Tokenizer(models.BPE(vocab, merges, continuing_subword_prefix="", end_of_word_suffix=""))
    prefix = bool(settings.get("add_prefix_space", False))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    backend.decoder = decoders.ByteLevel()
    if family is ROBERTA:
        tokens = _tokens(family, settings)
        for name in ("sep_token", "cls_token"):
            _require(vocab_json, vocab, name, tokens[name], "RoBERTa's")
        last, first = ((tokens[name], vocab[tokens[name]]) for name in ("sep_token", "cls_token"))
        backend.post_processor = processors.RobertaProcessing(last, first, trim_offsets=True, add_prefix_space=prefix)
    return backend


def byte_level_family(vocab_json: Path, family: Family) -> Family:
    """The family itself where its files are byte-level; of a folder that names none, what its vocabulary shows."""
    if family.byte_level:
        return family
    with rust_errors(f"{vocab_json}: not a vocabulary of tokens with their ids"):
        text = vocab_json.read_text(encoding="utf-8")
    return ROBERTA if '"<mask>"' in text and '"<s>"' in text else GPT2


def sentencepiece_backend(path: Path, family: Family, settings: dict[str, Any]) -> Tokenizer:
    """The tokenizer of a sentencepiece model, read through the `sentencepiece` package.

    Args:
        path: spiece.model, tokenizer.model or the like.
        family: T5 gets its end token and sentinels, Llama's its bytes; any other the plain model.
        settings: `extra_ids` (T5's sentinels, 100 by default), `add_prefix_space`, `legacy`; special pieces are added.

    Raises:
        ImportError: `sentencepiece` or `protobuf` is not installed.
        ValueError: If the file is no such model.
    """
    model = _read_model(path)
    pieces = [(piece.piece, piece.score) for piece in model.pieces]
    if family is T5:
        names = [f"<extra_id_{i}>" for i in range(int(settings.get("extra_ids", 100)))]
        known = {piece for piece, _ in pieces}
        pieces += [(name, 0.0) for name in reversed(names) if name not in known]
        settings.setdefault("extra_special_tokens", settings.get("additional_special_tokens") or names)
    with rust_errors(f"{path}: not a sentencepiece model that the `tokenizers` library can hold"):
        backend = Tokenizer(_model_of(model, pieces))
    special = [
        AddedToken(piece.piece, normalized=False, special=piece.type == _CONTROL)
        for piece in model.pieces
        if piece.type in (_CONTROL, _USER)
    ]
    for token in special:
        (backend.add_special_tokens if token.special else backend.add_tokens)([token])
    _lay_out(backend, model, family, settings)
    check_bounds(path, backend)
    return backend


def _read_model(path: Path) -> Any:
    try:
        from sentencepiece import sentencepiece_model_pb2
    except ImportError as error:
        raise ImportError(
            f"{path} is a sentencepiece model: expected the packages that read it, received {error}: "
            "pip install 'lt-trainer[sentencepiece]'"
        ) from error
    from google.protobuf.message import DecodeError

    model = sentencepiece_model_pb2.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise ValueError(f"{path}: not a sentencepiece model ({error}): fetch it again") from error
    kind = model.trainer_spec.model_type
    if not model.pieces or kind not in (_UNIGRAM, _BPE):
        raise ValueError(
            f"{path}: a sentencepiece model of kind {kind} with {len(model.pieces)} pieces: expected Unigram (1) or "
            "BPE (2) with at least one: take a tokenizer.json of this model"
        )
    return model


def _model_of(model: Any, pieces: list[tuple[str, float]]) -> models.Model:
    if model.trainer_spec.model_type == _UNIGRAM:
        return models.Unigram(pieces, model.trainer_spec.unk_id, model.trainer_spec.byte_fallback)
    vocab = {piece: index for index, (piece, _) in enumerate(pieces)}
    return models.BPE(
        vocab,
        _merges(dict(pieces), vocab),
        unk_token=model.trainer_spec.unk_piece,
        fuse_unk=True,
        byte_fallback=model.trainer_spec.byte_fallback,
    )


def _merges(scores: Mapping[str, float], vocab: Mapping[str, int]) -> list[tuple[str, str]]:
    """The pairs that make each piece, the best piece first; sentencepiece merges by the piece and knows no pairs."""
    merges = []
    for piece, score in scores.items():
        pairs = [(piece[:cut], piece[cut:]) for cut in range(1, len(piece))]
        known = [(left, right) for left, right in pairs if left in vocab and right in vocab]
        merges += [(score, pair) for pair in sorted(known, key=lambda pair: (vocab[pair[0]], vocab[pair[1]]))]
    merges.sort(key=lambda item: (item[0], len(item[1][0]), len(item[1][1])), reverse=True)
    return [pair for _, pair in merges]


def _lay_out(backend: Tokenizer, model: Any, family: Family, settings: Mapping[str, Any]) -> None:
    """What stands around the model: the cleaning of text, spaces as pieces, and the end token."""
    table = model.normalizer_spec.precompiled_charsmap
    prefix = bool(settings.get("add_prefix_space", True))
    if family is LLAMA:
        scheme = "first" if prefix else "never"
        backend.pre_tokenizer = pre_tokenizers.Metaspace(_SPACE, scheme, split=False)
        steps = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
        backend.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if prefix else steps)
        return
    scheme = "always" if prefix else "never"
    cleaning: list[Any] = [normalizers.Precompiled(table)] if table else []
    spaces = pre_tokenizers.Metaspace(_SPACE, scheme)
    backend.decoder = decoders.Metaspace(_SPACE, scheme)
    if family is T5:
        backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), spaces])
        end = _tokens(family, settings)["eos_token"]
        backend.post_processor = processors.TemplateProcessing(
            single=f"$A {end}", pair=f"$A {end} $B {end}", special_tokens=[(end, backend.token_to_id(end))]
        )
    else:
        cleaning += [normalizers.Strip(left=False, right=True), normalizers.Replace(Regex(" {2,}"), _SPACE)]
        backend.pre_tokenizer = spaces
    if cleaning:
        backend.normalizer = normalizers.Sequence(cleaning)


def _tokens(family: Family, settings: Mapping[str, Any]) -> dict[str, str]:
    """The special tokens that a family has, as the settings name them."""
    named = {name: as_token(settings.get(name), name) for name in family.special_tokens}
    return {name: str(named[name] or usual) for name, usual in family.special_tokens.items()}


def _require(path: Path, vocab: Mapping[str, int], name: str, token: str, whose: str) -> None:
    if token not in vocab:
        raise ValueError(
            f"{path}: the vocabulary of {len(vocab)} tokens has no {name} {token!r}; "
            f"name the token that it has ({name}=...), or check that the file is {whose}"
        )
