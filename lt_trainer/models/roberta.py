"""RoBERTa, packed, in the public parameter names: BERT's layers with other positions and heads.

Dimension letters: B rows, T padded length, N packed tokens, R tokens that are read, D width, V vocabulary, C classes.

Source: https://arxiv.org/abs/1907.11692; names and shapes of the public checkpoints.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from lt_trainer.models.base import PreTrainedModel
from lt_trainer.models.bert import BertConfig, BertEmbeddings, BertModel, classifier_dropout, pooled_scores
from lt_trainer.models.choice import MultipleChoice
from lt_trainer.models.heads import ClassificationHead, QuestionAnswering, SequenceClassification, TokenClassification
from lt_trainer.models.layers import Dropout
from lt_trainer.models.vocabulary import MaskedLM

if TYPE_CHECKING:
    from torch import Tensor


class RobertaConfig(BertConfig):
    """The settings of RoBERTa; names and defaults are the public ones."""

    model_type = "roberta"

    vocab_size: int = 50265
    pad_token_id: int | None = 1
    bos_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 2

    @property
    def max_row_tokens(self) -> int:
        """Positions begin after that of the pad token, so the table holds fewer tokens than it has rows."""
        return self.max_position_embeddings - (self.pad_token_id or 0) - 1

    def problems(self) -> list[str]:
        """As in BertConfig; and positions need the pad token."""
        found = super().problems()
        if not isinstance(self.pad_token_id, int):
            found.append(f"pad_token_id={self.pad_token_id!r}: expected a token id, positions are counted from it")
        return found


class RobertaEmbeddings(BertEmbeddings):
    """BERT's sum, in the order of the public checkpoints; the pad token has a position of its own."""

    def __init__(self, config: BertConfig) -> None:
        nn.Module.__init__(self)
        width, pad = config.hidden_size, config.pad_token_id
        self.word_embeddings = nn.Embedding(config.vocab_size, width, padding_idx=pad)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, width)
        self.LayerNorm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, width, padding_idx=pad)


class RobertaPreTrainedModel(PreTrainedModel):
    """What all RoBERTa models share."""

    config: RobertaConfig
    config_class = RobertaConfig
    base_model_prefix = "roberta"

    def default_positions(self, input_ids_BT: Tensor) -> Tensor:
        """Tokens of a row are counted from pad_token_id + 1, pad tokens are not counted: [B, T]."""
        pad = self.config.pad_token_id
        assert pad is not None
        counted_BT = (input_ids_BT != pad).long()
        return counted_BT.cumsum(dim=1) * counted_BT + pad


class RobertaModel(RobertaPreTrainedModel, BertModel):
    """Embeddings, encoder and pooler."""

    config: RobertaConfig
    embeddings_class = RobertaEmbeddings


class RobertaForSequenceClassification(RobertaPreTrainedModel, SequenceClassification):
    """RoBERTa with a classifier of rows on the first token."""

    def __init__(self, config: RobertaConfig) -> None:
        super().__init__(config)
        self.roberta = RobertaModel(config, add_pooling_layer=False)
        self.classifier = ClassificationHead(config.hidden_size, classifier_dropout(config), config.num_labels)
        self.post_init()

    def scores(self, x: Tensor) -> Tensor:
        """[B, C]."""
        scores: Tensor = self.classifier(x)
        return scores


class RobertaForTokenClassification(RobertaPreTrainedModel, TokenClassification):
    """RoBERTa with a classifier of tokens."""

    def __init__(self, config: RobertaConfig) -> None:
        super().__init__(config)
        self.roberta = RobertaModel(config, add_pooling_layer=False)
        self.dropout = Dropout(classifier_dropout(config))
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()


class RobertaForQuestionAnswering(RobertaPreTrainedModel, QuestionAnswering):
    """RoBERTa with scores for the start and the end of an answer."""

    def __init__(self, config: RobertaConfig) -> None:
        super().__init__(config)
        self.roberta = RobertaModel(config, add_pooling_layer=False)
        self.qa_outputs = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()


class RobertaForMultipleChoice(RobertaPreTrainedModel, MultipleChoice):
    """RoBERTa with a score for each of a row's texts on the pooled first token."""

    def __init__(self, config: RobertaConfig) -> None:
        super().__init__(config)
        self.roberta = RobertaModel(config)
        self.dropout = Dropout(config.hidden_dropout_prob)
        self.classifier = nn.Linear(config.hidden_size, 1)
        self.post_init()

    def scores(self, x: Tensor) -> Tensor:
        """[B * C, 1]."""
        return pooled_scores(self.roberta, self.dropout, self.classifier, x)


class RobertaLMHead(nn.Module):
    """What scores the vocabulary; the decoder's weight is the word embeddings, its bias is `bias`."""

    def __init__(self, config: RobertaConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def transform(self, x_ND: Tensor) -> Tensor:
        """What comes before the vocabulary, [N, D]."""
        normed: Tensor = self.layer_norm(F.gelu(self.dense(x_ND)))
        return normed


class RobertaForMaskedLM(RobertaPreTrainedModel, MaskedLM):
    """RoBERTa that predicts hidden tokens; only those are projected to the vocabulary."""

    tied_weights: ClassVar[dict[str, str]] = {
        "lm_head.decoder.weight": "roberta.embeddings.word_embeddings.weight",
        "lm_head.decoder.bias": "lm_head.bias",
    }

    def __init__(self, config: RobertaConfig) -> None:
        super().__init__(config)
        self.roberta = RobertaModel(config, add_pooling_layer=False)
        self.lm_head = RobertaLMHead(config)
        self.post_init()

    def get_output_embeddings(self) -> nn.Linear:
        """The decoder."""
        return self.lm_head.decoder

    def transform(self, x: Tensor) -> Tensor:
        """Dense, activation and norm."""
        return self.lm_head.transform(x)


MODELS = {
    "AutoModel": RobertaModel,
    "AutoModelForSequenceClassification": RobertaForSequenceClassification,
    "AutoModelForTokenClassification": RobertaForTokenClassification,
    "AutoModelForQuestionAnswering": RobertaForQuestionAnswering,
    "AutoModelForMaskedLM": RobertaForMaskedLM,
    "AutoModelForMultipleChoice": RobertaForMultipleChoice,
}
