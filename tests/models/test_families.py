"""A family is one module, one row in the registry and one parity test; nothing else names it."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from lt_trainer.models import auto
from lt_trainer.models.base import PreTrainedModel
from lt_trainer.models.configuration import PretrainedConfig

ROOT = Path(__file__).resolve().parents[2]
SHARED = {"bert": {"roberta"}}  # a family may build on another's layers
ROWS = [(name, *row) for name, row in auto.FAMILIES.items()]


@pytest.mark.parametrize("model_type", list(auto.FAMILIES))
def test_a_family_touches_one_module_one_row_and_one_parity_test(model_type: str) -> None:
    module, _ = auto.FAMILIES[model_type]
    own = {f"lt_trainer/models/{model_type}.py", f"tests/parity/test_{model_type}.py"}
    assert module == f"lt_trainer.models.{model_type}"
    assert all((ROOT / path).is_file() for path in own)
    imported = re.compile(rf"^(from|import) {re.escape(module)}\b", re.MULTILINE)
    importers = {
        path.stem for path in (ROOT / "lt_trainer" / "models").glob("*.py") if imported.search(path.read_text())
    }
    assert importers == SHARED.get(model_type, set())
    assert (ROOT / "lt_trainer/models/auto.py").read_text().count(f'"{module}"') == 1


@pytest.mark.parametrize(("model_type", "module", "config"), ROWS)
def test_a_row_of_the_registry_leads_to_the_family(model_type: str, module: str, config: str) -> None:
    family = importlib.import_module(module)
    assert issubclass(getattr(family, config), PretrainedConfig)
    assert getattr(family, config).model_type == model_type
    for auto_class, model in family.MODELS.items():
        assert issubclass(getattr(auto, auto_class), auto._AutoModel)
        assert issubclass(model, PreTrainedModel)
        assert model.config_class is getattr(family, config)


@pytest.mark.parametrize(
    ("auto_class", "families"),
    [
        ("AutoModel", "bert roberta distilbert gpt2 t5"),
        ("AutoModelForSequenceClassification", "bert roberta distilbert gpt2 t5"),
        ("AutoModelForTokenClassification", "bert roberta distilbert gpt2 t5"),
        ("AutoModelForQuestionAnswering", "bert roberta distilbert gpt2 t5"),
        ("AutoModelForMaskedLM", "bert roberta distilbert"),
        ("AutoModelForMultipleChoice", "bert roberta distilbert"),
        ("AutoModelForNextSentencePrediction", "bert"),
        ("AutoModelForCausalLM", "gpt2"),
        ("AutoModelForSeq2SeqLM", "t5"),
    ],
)
def test_which_family_has_which_head(auto_class: str, families: str) -> None:
    having = [name for name, row in auto.FAMILIES.items() if auto_class in importlib.import_module(row[0]).MODELS]
    assert having == families.split()


@pytest.mark.parametrize(("model_type", "module", "config"), ROWS)
def test_heads_are_those_of_transformers(model_type: str, module: str, config: str) -> None:
    """By name: what a checkpoint's config.json calls its architecture is a class here."""
    transformers = pytest.importorskip("transformers")
    family = importlib.import_module(module)
    for auto_class, model in family.MODELS.items():
        mapping = getattr(transformers, auto_class)._model_mapping
        assert mapping[getattr(transformers, config)].__name__ == model.__name__
