"""The training API of `transformers` on PyTorch Lightning, with models that compute no padding.

Importing the package costs nothing: every public name is imported when it is first read (PEP 562).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from lt_trainer.args.check import ConfigurationError as ConfigurationError
    from lt_trainer.args.fields import Seq2SeqTrainingArguments as Seq2SeqTrainingArguments
    from lt_trainer.args.fields import TrainingArguments as TrainingArguments
    from lt_trainer.callbacks.base import DefaultFlowCallback as DefaultFlowCallback
    from lt_trainer.callbacks.base import TrainerCallback as TrainerCallback
    from lt_trainer.callbacks.early_stopping import EarlyStoppingCallback as EarlyStoppingCallback
    from lt_trainer.callbacks.progress import PrinterCallback as PrinterCallback
    from lt_trainer.callbacks.progress import ProgressCallback as ProgressCallback
    from lt_trainer.data.collators import DataCollatorForSeq2Seq as DataCollatorForSeq2Seq
    from lt_trainer.data.collators import DataCollatorForTokenClassification as DataCollatorForTokenClassification
    from lt_trainer.data.collators import DataCollatorWithPadding as DataCollatorWithPadding
    from lt_trainer.data.collators import DefaultDataCollator as DefaultDataCollator
    from lt_trainer.data.collators import default_data_collator as default_data_collator
    from lt_trainer.data.language import DataCollatorForLanguageModeling as DataCollatorForLanguageModeling
    from lt_trainer.data.language import (
        DataCollatorForPermutationLanguageModeling as DataCollatorForPermutationLanguageModeling,
    )
    from lt_trainer.data.language import DataCollatorForWholeWordMask as DataCollatorForWholeWordMask
    from lt_trainer.data.language import DataCollatorWithFlattening as DataCollatorWithFlattening
    from lt_trainer.hf_argparser import HfArgumentParser as HfArgumentParser
    from lt_trainer.models.auto import AutoConfig as AutoConfig
    from lt_trainer.models.auto import AutoModel as AutoModel
    from lt_trainer.models.auto import AutoModelForCausalLM as AutoModelForCausalLM
    from lt_trainer.models.auto import AutoModelForMaskedLM as AutoModelForMaskedLM
    from lt_trainer.models.auto import AutoModelForMultipleChoice as AutoModelForMultipleChoice
    from lt_trainer.models.auto import AutoModelForNextSentencePrediction as AutoModelForNextSentencePrediction
    from lt_trainer.models.auto import AutoModelForQuestionAnswering as AutoModelForQuestionAnswering
    from lt_trainer.models.auto import AutoModelForSeq2SeqLM as AutoModelForSeq2SeqLM
    from lt_trainer.models.auto import AutoModelForSequenceClassification as AutoModelForSequenceClassification
    from lt_trainer.models.auto import AutoModelForTokenClassification as AutoModelForTokenClassification
    from lt_trainer.models.base import PreTrainedModel as PreTrainedModel
    from lt_trainer.models.bert import BertConfig as BertConfig
    from lt_trainer.models.bert import BertForMaskedLM as BertForMaskedLM
    from lt_trainer.models.bert import BertForMultipleChoice as BertForMultipleChoice
    from lt_trainer.models.bert import BertForNextSentencePrediction as BertForNextSentencePrediction
    from lt_trainer.models.bert import BertForQuestionAnswering as BertForQuestionAnswering
    from lt_trainer.models.bert import BertForSequenceClassification as BertForSequenceClassification
    from lt_trainer.models.bert import BertForTokenClassification as BertForTokenClassification
    from lt_trainer.models.bert import BertModel as BertModel
    from lt_trainer.models.bert import BertPreTrainedModel as BertPreTrainedModel
    from lt_trainer.models.configuration import PretrainedConfig as PretrainedConfig
    from lt_trainer.models.distilbert import DistilBertConfig as DistilBertConfig
    from lt_trainer.models.distilbert import DistilBertForMaskedLM as DistilBertForMaskedLM
    from lt_trainer.models.distilbert import DistilBertForMultipleChoice as DistilBertForMultipleChoice
    from lt_trainer.models.distilbert import DistilBertForQuestionAnswering as DistilBertForQuestionAnswering
    from lt_trainer.models.distilbert import DistilBertForSequenceClassification as DistilBertForSequenceClassification
    from lt_trainer.models.distilbert import DistilBertForTokenClassification as DistilBertForTokenClassification
    from lt_trainer.models.distilbert import DistilBertModel as DistilBertModel
    from lt_trainer.models.distilbert import DistilBertPreTrainedModel as DistilBertPreTrainedModel
    from lt_trainer.models.generation_config import GenerationConfig as GenerationConfig
    from lt_trainer.models.gpt2 import GPT2Config as GPT2Config
    from lt_trainer.models.gpt2 import GPT2ForQuestionAnswering as GPT2ForQuestionAnswering
    from lt_trainer.models.gpt2 import GPT2ForSequenceClassification as GPT2ForSequenceClassification
    from lt_trainer.models.gpt2 import GPT2ForTokenClassification as GPT2ForTokenClassification
    from lt_trainer.models.gpt2 import GPT2LMHeadModel as GPT2LMHeadModel
    from lt_trainer.models.gpt2 import GPT2Model as GPT2Model
    from lt_trainer.models.gpt2 import GPT2PreTrainedModel as GPT2PreTrainedModel
    from lt_trainer.models.roberta import RobertaConfig as RobertaConfig
    from lt_trainer.models.roberta import RobertaForMaskedLM as RobertaForMaskedLM
    from lt_trainer.models.roberta import RobertaForMultipleChoice as RobertaForMultipleChoice
    from lt_trainer.models.roberta import RobertaForQuestionAnswering as RobertaForQuestionAnswering
    from lt_trainer.models.roberta import RobertaForSequenceClassification as RobertaForSequenceClassification
    from lt_trainer.models.roberta import RobertaForTokenClassification as RobertaForTokenClassification
    from lt_trainer.models.roberta import RobertaModel as RobertaModel
    from lt_trainer.models.roberta import RobertaPreTrainedModel as RobertaPreTrainedModel
    from lt_trainer.models.t5 import T5Config as T5Config
    from lt_trainer.models.t5 import T5EncoderModel as T5EncoderModel
    from lt_trainer.models.t5 import T5ForConditionalGeneration as T5ForConditionalGeneration
    from lt_trainer.models.t5 import T5ForQuestionAnswering as T5ForQuestionAnswering
    from lt_trainer.models.t5 import T5ForSequenceClassification as T5ForSequenceClassification
    from lt_trainer.models.t5 import T5ForTokenClassification as T5ForTokenClassification
    from lt_trainer.models.t5 import T5Model as T5Model
    from lt_trainer.models.t5 import T5PreTrainedModel as T5PreTrainedModel
    from lt_trainer.names import IntervalStrategy as IntervalStrategy
    from lt_trainer.names import SchedulerType as SchedulerType
    from lt_trainer.optim.adafactor import Adafactor as Adafactor
    from lt_trainer.optim.adafactor import AdafactorSchedule as AdafactorSchedule
    from lt_trainer.optim.adafactor import get_adafactor_schedule as get_adafactor_schedule
    from lt_trainer.optim.named import get_constant_schedule as get_constant_schedule
    from lt_trainer.optim.named import get_constant_schedule_with_warmup as get_constant_schedule_with_warmup
    from lt_trainer.optim.named import get_cosine_schedule_with_warmup as get_cosine_schedule_with_warmup
    from lt_trainer.optim.named import (
        get_cosine_with_hard_restarts_schedule_with_warmup as get_cosine_with_hard_restarts_schedule_with_warmup,
    )
    from lt_trainer.optim.named import (
        get_cosine_with_min_lr_schedule_with_warmup as get_cosine_with_min_lr_schedule_with_warmup,
    )
    from lt_trainer.optim.named import (
        get_cosine_with_min_lr_schedule_with_warmup_lr_rate as get_cosine_with_min_lr_schedule_with_warmup_lr_rate,
    )
    from lt_trainer.optim.named import get_greedy_schedule as get_greedy_schedule
    from lt_trainer.optim.named import get_inverse_sqrt_schedule as get_inverse_sqrt_schedule
    from lt_trainer.optim.named import get_linear_schedule_with_warmup as get_linear_schedule_with_warmup
    from lt_trainer.optim.named import (
        get_polynomial_decay_schedule_with_warmup as get_polynomial_decay_schedule_with_warmup,
    )
    from lt_trainer.optim.named import get_reduce_on_plateau_schedule as get_reduce_on_plateau_schedule
    from lt_trainer.optim.named import get_scheduler as get_scheduler
    from lt_trainer.optim.named import get_wsd_schedule as get_wsd_schedule
    from lt_trainer.optim.watchers import GreedyLR as GreedyLR
    from lt_trainer.outputs import EvalPrediction as EvalPrediction
    from lt_trainer.outputs import PredictionOutput as PredictionOutput
    from lt_trainer.outputs import TrainOutput as TrainOutput
    from lt_trainer.seeds import enable_full_determinism as enable_full_determinism
    from lt_trainer.seeds import set_seed as set_seed
    from lt_trainer.seq2seq_trainer import Seq2SeqTrainer as Seq2SeqTrainer
    from lt_trainer.state import TrainerControl as TrainerControl
    from lt_trainer.state import TrainerState as TrainerState
    from lt_trainer.tasks.causal_lm import CausalLM as CausalLM
    from lt_trainer.tasks.causal_lm import CausalLMData as CausalLMData
    from lt_trainer.tasks.masked_lm import MaskedLM as MaskedLM
    from lt_trainer.tasks.masked_lm import MaskedLMData as MaskedLMData
    from lt_trainer.tasks.question_answering import QuestionAnswering as QuestionAnswering
    from lt_trainer.tasks.question_answering import QuestionAnsweringData as QuestionAnsweringData
    from lt_trainer.tasks.seq2seq import Seq2Seq as Seq2Seq
    from lt_trainer.tasks.seq2seq import Seq2SeqData as Seq2SeqData
    from lt_trainer.tasks.text_classification import TextClassification as TextClassification
    from lt_trainer.tasks.text_classification import TextClassificationData as TextClassificationData
    from lt_trainer.tasks.token_classification import TokenClassification as TokenClassification
    from lt_trainer.tasks.token_classification import TokenClassificationData as TokenClassificationData
    from lt_trainer.tokenization import AutoTokenizer as AutoTokenizer
    from lt_trainer.tokenization import BatchEncoding as BatchEncoding
    from lt_trainer.tokenization import BertTokenizer as BertTokenizer
    from lt_trainer.tokenization import BertTokenizerFast as BertTokenizerFast
    from lt_trainer.tokenization import DistilBertTokenizer as DistilBertTokenizer
    from lt_trainer.tokenization import DistilBertTokenizerFast as DistilBertTokenizerFast
    from lt_trainer.tokenization import ElectraTokenizer as ElectraTokenizer
    from lt_trainer.tokenization import ElectraTokenizerFast as ElectraTokenizerFast
    from lt_trainer.tokenization import GPT2Tokenizer as GPT2Tokenizer
    from lt_trainer.tokenization import GPT2TokenizerFast as GPT2TokenizerFast
    from lt_trainer.tokenization import LlamaTokenizer as LlamaTokenizer
    from lt_trainer.tokenization import LlamaTokenizerFast as LlamaTokenizerFast
    from lt_trainer.tokenization import PreTrainedTokenizer as PreTrainedTokenizer
    from lt_trainer.tokenization import PreTrainedTokenizerBase as PreTrainedTokenizerBase
    from lt_trainer.tokenization import PreTrainedTokenizerFast as PreTrainedTokenizerFast
    from lt_trainer.tokenization import RobertaTokenizer as RobertaTokenizer
    from lt_trainer.tokenization import RobertaTokenizerFast as RobertaTokenizerFast
    from lt_trainer.tokenization import T5Tokenizer as T5Tokenizer
    from lt_trainer.tokenization import T5TokenizerFast as T5TokenizerFast
    from lt_trainer.trainer import Trainer as Trainer

_HOME = {
    "ConfigurationError": "args.check",
    "Seq2SeqTrainingArguments": "args.fields",
    "TrainingArguments": "args.fields",
    "HfArgumentParser": "hf_argparser",
    "DefaultFlowCallback": "callbacks.base",
    "TrainerCallback": "callbacks.base",
    "EarlyStoppingCallback": "callbacks.early_stopping",
    "PrinterCallback": "callbacks.progress",
    "ProgressCallback": "callbacks.progress",
    "DataCollatorForSeq2Seq": "data.collators",
    "DataCollatorForTokenClassification": "data.collators",
    "DataCollatorWithPadding": "data.collators",
    "DefaultDataCollator": "data.collators",
    "default_data_collator": "data.collators",
    "DataCollatorForLanguageModeling": "data.language",
    "DataCollatorForPermutationLanguageModeling": "data.language",
    "DataCollatorForWholeWordMask": "data.language",
    "DataCollatorWithFlattening": "data.language",
    "AutoConfig": "models.auto",
    "AutoModel": "models.auto",
    "AutoModelForCausalLM": "models.auto",
    "AutoModelForMaskedLM": "models.auto",
    "AutoModelForNextSentencePrediction": "models.auto",
    "AutoModelForMultipleChoice": "models.auto",
    "AutoModelForQuestionAnswering": "models.auto",
    "AutoModelForSeq2SeqLM": "models.auto",
    "AutoModelForSequenceClassification": "models.auto",
    "AutoModelForTokenClassification": "models.auto",
    "GenerationConfig": "models.generation_config",
    "Adafactor": "optim.adafactor",
    "AdafactorSchedule": "optim.adafactor",
    "get_adafactor_schedule": "optim.adafactor",
    "get_constant_schedule": "optim.named",
    "get_constant_schedule_with_warmup": "optim.named",
    "get_cosine_schedule_with_warmup": "optim.named",
    "get_cosine_with_hard_restarts_schedule_with_warmup": "optim.named",
    "get_cosine_with_min_lr_schedule_with_warmup": "optim.named",
    "get_cosine_with_min_lr_schedule_with_warmup_lr_rate": "optim.named",
    "get_greedy_schedule": "optim.named",
    "get_inverse_sqrt_schedule": "optim.named",
    "get_linear_schedule_with_warmup": "optim.named",
    "get_polynomial_decay_schedule_with_warmup": "optim.named",
    "get_reduce_on_plateau_schedule": "optim.named",
    "get_scheduler": "optim.named",
    "get_wsd_schedule": "optim.named",
    "GreedyLR": "optim.watchers",
    "PreTrainedModel": "models.base",
    "BertConfig": "models.bert",
    "BertForMaskedLM": "models.bert",
    "BertForNextSentencePrediction": "models.bert",
    "BertForMultipleChoice": "models.bert",
    "BertForQuestionAnswering": "models.bert",
    "BertForSequenceClassification": "models.bert",
    "BertForTokenClassification": "models.bert",
    "BertModel": "models.bert",
    "BertPreTrainedModel": "models.bert",
    "PretrainedConfig": "models.configuration",
    "DistilBertConfig": "models.distilbert",
    "DistilBertForMaskedLM": "models.distilbert",
    "DistilBertForMultipleChoice": "models.distilbert",
    "DistilBertForQuestionAnswering": "models.distilbert",
    "DistilBertForSequenceClassification": "models.distilbert",
    "DistilBertForTokenClassification": "models.distilbert",
    "DistilBertModel": "models.distilbert",
    "DistilBertPreTrainedModel": "models.distilbert",
    "GPT2Config": "models.gpt2",
    "GPT2ForQuestionAnswering": "models.gpt2",
    "GPT2ForSequenceClassification": "models.gpt2",
    "GPT2ForTokenClassification": "models.gpt2",
    "GPT2LMHeadModel": "models.gpt2",
    "GPT2Model": "models.gpt2",
    "GPT2PreTrainedModel": "models.gpt2",
    "RobertaConfig": "models.roberta",
    "RobertaForMaskedLM": "models.roberta",
    "RobertaForMultipleChoice": "models.roberta",
    "RobertaForQuestionAnswering": "models.roberta",
    "RobertaForSequenceClassification": "models.roberta",
    "RobertaForTokenClassification": "models.roberta",
    "RobertaModel": "models.roberta",
    "RobertaPreTrainedModel": "models.roberta",
    "T5Config": "models.t5",
    "T5EncoderModel": "models.t5",
    "T5ForConditionalGeneration": "models.t5",
    "T5ForQuestionAnswering": "models.t5",
    "T5ForSequenceClassification": "models.t5",
    "T5ForTokenClassification": "models.t5",
    "T5Model": "models.t5",
    "T5PreTrainedModel": "models.t5",
    "Seq2SeqTrainer": "seq2seq_trainer",
    "enable_full_determinism": "seeds",
    "set_seed": "seeds",
    "EvalPrediction": "outputs",
    "IntervalStrategy": "names",
    "PredictionOutput": "outputs",
    "SchedulerType": "names",
    "TrainerControl": "state",
    "TrainerState": "state",
    "TrainOutput": "outputs",
    "CausalLM": "tasks.causal_lm",
    "CausalLMData": "tasks.causal_lm",
    "MaskedLM": "tasks.masked_lm",
    "MaskedLMData": "tasks.masked_lm",
    "Seq2Seq": "tasks.seq2seq",
    "Seq2SeqData": "tasks.seq2seq",
    "QuestionAnswering": "tasks.question_answering",
    "QuestionAnsweringData": "tasks.question_answering",
    "TextClassification": "tasks.text_classification",
    "TextClassificationData": "tasks.text_classification",
    "TokenClassification": "tasks.token_classification",
    "TokenClassificationData": "tasks.token_classification",
    "AutoTokenizer": "tokenization",
    "BatchEncoding": "tokenization",
    "BertTokenizer": "tokenization",
    "BertTokenizerFast": "tokenization",
    "DistilBertTokenizer": "tokenization",
    "DistilBertTokenizerFast": "tokenization",
    "ElectraTokenizer": "tokenization",
    "ElectraTokenizerFast": "tokenization",
    "GPT2Tokenizer": "tokenization",
    "GPT2TokenizerFast": "tokenization",
    "LlamaTokenizer": "tokenization",
    "LlamaTokenizerFast": "tokenization",
    "PreTrainedTokenizer": "tokenization",
    "PreTrainedTokenizerBase": "tokenization",
    "PreTrainedTokenizerFast": "tokenization",
    "RobertaTokenizer": "tokenization",
    "RobertaTokenizerFast": "tokenization",
    "T5Tokenizer": "tokenization",
    "T5TokenizerFast": "tokenization",
    "Trainer": "trainer",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    """Imports a public name from its module when it is first read; models that are not native from `transformers`."""
    if name in _HOME:
        value = getattr(importlib.import_module(f"lt_trainer.{_HOME[name]}"), name)
    elif name.startswith("_"):
        raise AttributeError(f"module 'lt_trainer' has no attribute {name!r}")
    else:
        value = importlib.import_module("lt_trainer.models.foreign").named(name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
