"""A tiny checkpoint in the public layout, written without any model class, for whatever test wants one."""

from __future__ import annotations

import json
import string
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["the", "a", "of", "to", "and", "in", "is", "it", "that", "not", "was", "one", "very", "never"]
WORDS += ["film", "movie", "story", "actor", "plot", "good", "bad", "great", "dull", "funny", "slow"]
VOCABULARY = [*SPECIAL, *string.digits, *string.ascii_lowercase, *".,!?'-", *WORDS]
VOCABULARY += [f"##{letter}" for letter in string.ascii_lowercase]

BERT_CONFIG: dict[str, Any] = {
    "architectures": ["BertModel"],
    "model_type": "bert",
    "vocab_size": len(VOCABULARY),
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "max_position_embeddings": 64,
    "type_vocab_size": 2,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
}


def bert_shapes(config: dict[str, Any], head: str | None = None) -> dict[str, tuple[int, ...]]:
    """Returns name -> shape of a public BERT checkpoint.

    Args:
        config: the fields of `BERT_CONFIG`; `num_labels` counts when `head` is "sequence".
        head: None for the encoder and pooler alone (names start with `embeddings.`), "sequence" or "masked" for a model
            with that head (the encoder's names start with `bert.`).
    """
    width, inner = config["hidden_size"], config["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], width),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], width),
        "embeddings.token_type_embeddings.weight": (config["type_vocab_size"], width),
        "embeddings.LayerNorm.weight": (width,),
        "embeddings.LayerNorm.bias": (width,),
    }
    for layer in range(config["num_hidden_layers"]):
        prefix = f"encoder.layer.{layer}"
        for name, out_width, in_width in (
            ("attention.self.query", width, width),
            ("attention.self.key", width, width),
            ("attention.self.value", width, width),
            ("attention.output.dense", width, width),
            ("intermediate.dense", inner, width),
            ("output.dense", width, inner),
        ):
            shapes |= {f"{prefix}.{name}.weight": (out_width, in_width), f"{prefix}.{name}.bias": (out_width,)}
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes |= {f"{prefix}.{name}.weight": (width,), f"{prefix}.{name}.bias": (width,)}
    if head != "masked":
        shapes |= {"pooler.dense.weight": (width, width), "pooler.dense.bias": (width,)}
    if head is None:
        return shapes
    return {f"bert.{name}": shape for name, shape in shapes.items()} | _head_shapes(config, head)


def _head_shapes(config: dict[str, Any], head: str) -> dict[str, tuple[int, ...]]:
    width, vocabulary = config["hidden_size"], config["vocab_size"]
    if head == "sequence":
        num_labels = config.get("num_labels", 2)
        return {"classifier.weight": (num_labels, width), "classifier.bias": (num_labels,)}
    if head == "masked":
        transform = "cls.predictions.transform"
        return {
            "cls.predictions.bias": (vocabulary,),
            f"{transform}.dense.weight": (width, width),
            f"{transform}.dense.bias": (width,),
            f"{transform}.LayerNorm.weight": (width,),
            f"{transform}.LayerNorm.bias": (width,),
        }
    raise ValueError(f"head={head!r}: expected None, 'sequence' or 'masked'")


def write_bert(folder: Path, *, head: str | None = None, seed: int = 0, **config: Any) -> Path:
    """Writes config.json, vocab.txt, tokenizer_config.json and model.safetensors of a tiny random BERT.

    The weights are drawn wide (0.1, norms around 1), so that a wrong layer shows in the third digit, not in the ninth.

    Args:
        folder: made if it is not there.
        head: see `bert_shapes`.
        seed: of the weights.
        config: fields that differ from `BERT_CONFIG`.
    """
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    settings = BERT_CONFIG | config
    if head is not None:
        settings["architectures"] = [{"sequence": "BertForSequenceClassification", "masked": "BertForMaskedLM"}[head]]
    if head == "sequence" and "num_labels" in settings:
        count = settings["num_labels"]
        settings |= {
            "id2label": {str(i): f"LABEL_{i}" for i in range(count)},
            "label2id": {f"LABEL_{i}": i for i in range(count)},
        }
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in bert_shapes(settings, head).items():
        noise = torch.randn(shape, generator=generator) * 0.1
        tensors[name] = noise + 1 if name.endswith("LayerNorm.weight") else noise
    settings.pop("num_labels", None)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(settings, indent=2) + "\n")
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    tokenizer = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": True,
        "model_max_length": settings["max_position_embeddings"],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer, indent=2) + "\n")
    return folder
