"""Models that are not native come from `transformers`: they load, train, save and are loaded again."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers

import lt_trainer
from lt_trainer.models import foreign
from lt_trainer.tasks.text_classification import TextClassification
from tests import families
from tests.tokenization.conftest import TEXTS

if TYPE_CHECKING:
    from pathlib import Path

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.usefixtures("_quiet")

ELECTRA = {
    "vocab_size": 80,
    "embedding_size": 32,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 40,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
LLAMA = {
    "vocab_size": 80,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 40,
    "pad_token_id": 0,
}


@pytest.fixture
def _quiet() -> Any:
    transformers.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    yield
    transformers.logging.set_verbosity_warning()


@pytest.fixture
def electra(tmp_path: Path) -> Path:
    return families.write(tmp_path / "electra", transformers.ElectraConfig(**ELECTRA))


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    return families.write(tmp_path / "llama", transformers.LlamaConfig(**LLAMA), "CausalLM")


def rows(head: str) -> Dataset:
    batch = families.with_labels(families.padded((9, 2, 5, 17, 4, 6, 8, 3)), head)
    mask = batch["attention_mask"] == 1
    values = {
        name: [row[keep].tolist() if row.ndim else int(row) for row, keep in zip(x, mask, strict=True)]
        for name, x in batch.items()
    }
    return Dataset.from_dict(values)


def train(model: Any, data: Dataset, folder: Path, collator: Any) -> Any:
    args = lt_trainer.TrainingArguments(
        str(folder),
        max_steps=3,
        per_device_train_batch_size=4,
        logging_steps=1,
        save_steps=3,
        save_strategy="steps",
        eval_strategy="epoch",
        report_to="none",
        disable_tqdm=True,
        learning_rate=1e-3,
    )
    trainer = lt_trainer.Trainer(model, args, train_dataset=data, eval_dataset=data, data_collator=collator)
    trainer.train()
    return trainer


def test_a_family_that_is_not_native_says_that_it_computes_padding(electra: Path, caplog: Any) -> None:
    with caplog.at_level(logging.WARNING):
        model = lt_trainer.AutoModelForSequenceClassification.from_pretrained(electra, num_labels=3)
    told = [record.message for record in caplog.records if record.name == "lt_trainer.models.foreign"]
    assert told == [
        "ElectraForSequenceClassification is not native here: it is that of `transformers`, and computes padding"
    ]
    assert type(model) is transformers.ElectraForSequenceClassification
    assert model.config.num_labels == 3
    assert not model.training


def test_weights_train_in_float32_whatever_the_file_holds(llama: Path) -> None:
    transformers.AutoModelForCausalLM.from_pretrained(llama, dtype=torch.bfloat16).save_pretrained(llama)
    assert lt_trainer.AutoModelForCausalLM.from_pretrained(llama).dtype == torch.float32
    assert lt_trainer.AutoModelForCausalLM.from_pretrained(llama, dtype="auto").dtype == torch.bfloat16
    assert lt_trainer.AutoModelForCausalLM.from_pretrained(llama, torch_dtype="bfloat16").dtype == torch.bfloat16


@pytest.mark.parametrize("head", ["SequenceClassification", "TokenClassification"])
def test_it_trains_to_a_folder_like_any_other(electra: Path, tmp_path: Path, head: str) -> None:
    auto_class = getattr(lt_trainer, f"AutoModelFor{head}")
    model = auto_class.from_pretrained(electra, num_labels=3)
    trainer = train(model, rows(head), tmp_path / "run", collate)
    lines = trainer.state.log_history
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3]
    evaluated = [line["eval_loss"] for line in lines if "eval_loss" in line]
    assert evaluated[-1] < evaluated[0]
    trainer.save_model()
    for folder in (tmp_path / "run", tmp_path / "run" / "checkpoint-3"):
        again = auto_class.from_pretrained(folder)
        assert all(torch.equal(x.cpu(), again.state_dict()[name]) for name, x in model.state_dict().items())
        theirs, info = getattr(transformers, f"AutoModelFor{head}").from_pretrained(folder, output_loading_info=True)
        assert type(theirs) is type(again)
        assert not info["missing_keys"]
        assert not info["unexpected_keys"]


def collate(features: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    width = max(len(row["input_ids"]) for row in features)
    fill = {"input_ids": 0, "attention_mask": 0, "labels": -100}

    def column(name: str) -> torch.Tensor:
        first = features[0][name]
        if isinstance(first, int):
            return torch.tensor([row[name] for row in features])
        return torch.tensor([[*row[name], *[fill[name]] * (width - len(row[name]))] for row in features])

    return {name: column(name) for name in features[0]}


def test_a_causal_model_with_grouped_queries_trains_and_resumes(llama: Path, tmp_path: Path) -> None:
    model = lt_trainer.AutoModelForCausalLM.from_pretrained(llama)
    trainer = train(model, rows("CausalLM"), tmp_path / "run", collate)
    expected = {name: x.clone() for name, x in model.state_dict().items()}
    assert trainer.state.log_history[-1]["step"] == 3
    fresh = lt_trainer.AutoModelForCausalLM.from_pretrained(llama)
    data = rows("CausalLM")
    again = lt_trainer.Trainer(fresh, trainer.args, train_dataset=data, eval_dataset=data, data_collator=collate)
    again.train(resume_from_checkpoint=True)
    assert all(torch.equal(x, expected[name]) for name, x in fresh.state_dict().items())


def test_a_task_takes_it_by_its_folder(electra: Path) -> None:
    task = TextClassification(str(electra), num_labels=3)
    assert type(task.model) is transformers.ElectraForSequenceClassification
    assert task.label_names == ["LABEL_0", "LABEL_1", "LABEL_2"]


def with_tokenizer(folder: Path, kind: str) -> str:
    """A tokenizer with 80 tokens at most beside the model."""
    words = sorted({word for text in TEXTS for word in text.lower().split()})[:60]
    names = {"electra": ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], "llama": ["<pad>", "<unk>", "</s>"]}[kind]
    if kind == "electra":
        (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in [*names, *words]), encoding="utf-8")
    else:
        vocab = {token: index for index, token in enumerate([*names, *words])}
        backend = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
        backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        backend.save(str(folder / "tokenizer.json"))
        tokens = {"pad_token": "<pad>", "unk_token": "<unk>", "eos_token": "</s>"}
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 40, **tokens}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return str(folder)


@pytest.mark.parametrize(
    ("task", "kind", "data"),
    [
        ("text-classification", "electra", {}),
        ("masked-lm", "electra", {}),
        ("causal-lm", "llama", {"packing": "none"}),
    ],
)
def test_tasks_train_it_from_raw_rows(
    request: pytest.FixtureRequest, tmp_path: Path, task: str, kind: str, data: dict[str, Any]
) -> None:
    name = with_tokenizer(request.getfixturevalue(kind), kind)
    rows = [
        {"text": text, **({"label": i % 2} if task == "text-classification" else {})} for i, text in enumerate(TEXTS)
    ]
    args = lt_trainer.TrainingArguments(
        str(tmp_path / "run"), max_steps=12, learning_rate=1e-2, report_to="none", save_strategy="no", disable_tqdm=True
    )
    trainer = lt_trainer.Trainer(args=args, task=task, model=name, data=data, train_dataset=rows, eval_dataset=rows)
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < before
    trainer.save_model()
    assert type(lt_trainer.AutoTokenizer.from_pretrained(tmp_path / "run")).__name__ in (
        "ElectraTokenizer",
        "PreTrainedTokenizerFast",
    )
    assert type(lt_trainer.AutoModel.from_pretrained(tmp_path / "run")).__module__.startswith("transformers.")


def test_a_head_that_a_native_family_lacks_comes_from_there_too(tmp_path: Path) -> None:
    config = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    folder = families.write(tmp_path / "bert", transformers.BertConfig(vocab_size=80, is_decoder=True, **config))
    model = lt_trainer.AutoModelForCausalLM.from_pretrained(folder)
    assert type(model) is transformers.BertLMHeadModel


def test_configurations_of_both_kinds_are_taken(electra: Path) -> None:
    config = lt_trainer.AutoConfig.from_pretrained(electra, num_labels=4)
    assert type(config) is transformers.ElectraConfig
    model = lt_trainer.AutoModelForTokenClassification.from_config(config)
    assert type(model) is transformers.ElectraForTokenClassification
    assert model.config.num_labels == 4
    assert lt_trainer.AutoModel.from_pretrained(electra, config=config).config.num_labels == 4
    llama = lt_trainer.AutoConfig.for_model("llama", **LLAMA)
    assert type(lt_trainer.AutoModelForCausalLM.from_config(llama)) is transformers.LlamaForCausalLM
    theirs = transformers.DistilBertConfig(vocab_size=80, dim=32, n_layers=1, n_heads=2, hidden_dim=64)
    native = lt_trainer.AutoModel.from_config(theirs)
    assert type(native).__module__ == "lt_trainer.models.distilbert"


def test_code_of_a_repository_is_never_run(electra: Path, caplog: Any) -> None:
    with caplog.at_level(logging.WARNING):
        lt_trainer.AutoModel.from_pretrained(electra, trust_remote_code=True)
    assert "trust_remote_code=True has no effect" in caplog.text


# --- class names ------------------------------------------------------------------------------------------------------


def test_class_names_that_are_not_native_come_from_there(caplog: Any) -> None:
    with caplog.at_level(logging.WARNING):
        assert lt_trainer.ElectraForPreTraining is transformers.ElectraForPreTraining
        assert lt_trainer.LlamaConfig is transformers.LlamaConfig
    assert [r.message.split(" is not")[0] for r in caplog.records] == ["ElectraForPreTraining"]


@pytest.mark.parametrize("name", ["BertForNothing", "NoModel", "GPT9Config"])
def test_a_class_that_nobody_has_is_named(name: str) -> None:
    with pytest.raises(AttributeError, match=f"neither 'lt_trainer' nor 'transformers' has '{name}'"):
        foreign.named(name)


@pytest.mark.parametrize("name", ["Trainr", "pipeline", "_private", "__path__"])
def test_other_names_are_not_looked_for_there(name: str) -> None:
    with pytest.raises(AttributeError, match=f"module 'lt_trainer' has no attribute '{name}'"):
        foreign.named(name)


def test_without_the_extra_a_class_name_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign, "is_installed", lambda: False)
    with pytest.raises(AttributeError, match=r"'ElectraModel': it is not native.*lt-trainer\[transformers\]"):
        foreign.named("ElectraModel")
