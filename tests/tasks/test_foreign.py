"""The six tasks on models of `transformers`: raw rows, one step, evaluation, predictions, a folder that loads again."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors

import lt_trainer

if TYPE_CHECKING:
    from pathlib import Path

transformers = pytest.importorskip("transformers")

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
WORDS = [
    "one",
    "two",
    "three",
    "four",
    "eins",
    "zwei",
    "drei",
    "the",
    "cat",
    "sat",
    "in",
    "Rome",
    "and",
    "a",
    "dog",
    "ran",
]
SIZE = len(SPECIAL) + len(WORDS)
OFF = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
ENCODER = {"vocab_size": SIZE, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2} | OFF
ENCODER |= {"intermediate_size": 32, "embedding_size": 16, "max_position_embeddings": 40, "pad_token_id": 1}
SIDES = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in
         {"layers": 1, "attention_heads": 2, "ffn_dim": 32}.items()}  # fmt: skip
SEQ2SEQ = {"vocab_size": SIZE, "d_model": 32, "max_position_embeddings": 40, "dropout": 0.0, "pad_token_id": 1} | SIDES
SEQ2SEQ |= {"bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2, "forced_eos_token_id": 2}
DECODER = {"vocab_size": SIZE, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
DECODER |= {"max_position_embeddings": 40, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
CONFIGS = {
    "albert": ENCODER,
    "electra": ENCODER,
    "bart": SEQ2SEQ,
    "marian": SEQ2SEQ,
    "opt": DECODER | {"ffn_dim": 32, "word_embed_proj_dim": 32, "dropout": 0.0},
    "gpt_neox": DECODER | {"intermediate_size": 32},
}
TASKS: dict[str, tuple[str, list[dict[str, Any]], dict[str, Any]]] = {
    "text-classification": (
        "SequenceClassification",
        [{"text": "the cat sat", "label": "a"}, {"text": "a dog ran in Rome", "label": "b"}],
        {},
    ),
    "token-classification": (
        "TokenClassification",
        [{"words": ["the", "cat"], "tags": ["O", "B-X"]}, {"words": ["Rome", "and", "ran"], "tags": ["B-Y", "O", "O"]}],
        {},
    ),
    "question-answering": (
        "QuestionAnswering",
        [
            {"question": "cat", "context": "the cat sat in Rome", "answers": [{"text": "Rome", "answer_start": 15}]},
            {"question": "a dog", "context": "a dog ran", "answers": [{"text": "ran", "answer_start": 6}]},
        ],
        {},
    ),
    "masked-lm": (
        "MaskedLM",
        [{"text": "the cat sat in Rome"}, {"text": "a dog ran and the cat sat"}],
        {"mlm_probability": 0.4},
    ),
    "causal-lm": (
        "CausalLM",
        [{"prompt": "one two", "completion": " three"}, {"prompt": "one", "completion": " two three four"}],
        {"packing": "none"},
    ),
    "seq2seq": (
        "Seq2SeqLM",
        [{"source": "one two", "target": "eins zwei"}, {"source": "three", "target": "drei"}],
        {"max_target_length": 8},
    ),
}
PAIRS = [(family, task) for family in ("albert", "electra") for task in [*TASKS][:4]]
PAIRS += [(family, "causal-lm") for family in ("opt", "gpt_neox")]
PAIRS += [(family, "seq2seq") for family in ("bart", "marian")]


def write(folder: Path, family: str, head: str) -> str:
    """A model with random weights and a tokenizer of whole words."""
    torch.manual_seed(0)
    labels = {"num_labels": 3} if head == "TokenClassification" else {}
    config = transformers.AutoConfig.for_model(family, **CONFIGS[family], **labels)
    getattr(transformers, f"AutoModelFor{head}").from_config(config).save_pretrained(folder)
    vocab = {token: number for number, token in enumerate([*SPECIAL, *WORDS])}
    backend = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    begins, ends = ("<s> ", " </s>") if head != "CausalLM" else ("", "")
    pair = f"{begins}$A{ends}{ends} $B:1{ends}:1" if ends else "$A $B:1"
    known = [(token, vocab[token]) for token in ("<s>", "</s>")]
    backend.post_processor = processors.TemplateProcessing(single=f"{begins}$A{ends}", pair=pair, special_tokens=known)
    backend.save(str(folder / "tokenizer.json"))
    named = {"bos": "<s>", "pad": "<pad>", "eos": "</s>", "unk": "<unk>", "mask": "<mask>", "cls": "<s>", "sep": "</s>"}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 24}
    tokens = {f"{name}_token": token for name, token in named.items()}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | tokens))
    return str(folder)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("family", "task"), PAIRS)
def test_a_task_takes_it_from_raw_rows_to_a_folder(tmp_path: Path, family: str, task: str) -> None:
    head, rows, data = TASKS[task]
    folder = write(tmp_path / family, family, head)
    args = lt_trainer.TrainingArguments(
        str(tmp_path / "run"), max_steps=2, gradient_accumulation_steps=2, per_device_train_batch_size=1,
        learning_rate=1e-3, report_to="none", save_strategy="no", disable_tqdm=True, use_cpu=True,
    )  # fmt: skip
    trainer = lt_trainer.Trainer(args=args, task=task, model=folder, data=data, train_dataset=rows, eval_dataset=rows)
    assert type(trainer.model).__module__.startswith("transformers.")
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < before
    answers = records(trainer, rows)
    trainer.save_model()
    again = lt_trainer.Trainer(args=args, task=task, model=str(tmp_path / "run"), data=data, eval_dataset=rows)
    assert again.evaluate()["eval_loss"] == pytest.approx(trainer.evaluate()["eval_loss"], rel=1e-6)
    assert records(again, rows) == answers
    assert math.isfinite(before)


def records(trainer: Any, rows: Any) -> list[dict[str, Any]]:
    """What a person reads of predictions for rows without targets."""
    targets = ("label", "tags", "answers", "target", "completion")
    asked = [{name: value for name, value in row.items() if name not in targets} for row in rows]
    predictions = trainer.predict(asked).predictions
    return list(trainer.task.records(predictions, list(trainer.task_data.encoded_once(asked))))
