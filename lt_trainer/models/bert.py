"""BERT, packed, in the public parameter names.

Dimension letters: B rows, T padded length, N packed tokens, R tokens that are read, D width, H heads, K head width,
V vocabulary, C classes.

Source: https://arxiv.org/abs/1810.04805; names and shapes of the public checkpoints.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from lt_trainer.models.base import PreTrainedModel
from lt_trainer.models.choice import MultipleChoice, NextSentence
from lt_trainer.models.configuration import PretrainedConfig
from lt_trainer.models.encoder import Layers, attend_heads
from lt_trainer.models.heads import HiddenStates, QuestionAnswering, SequenceClassification, TokenClassification
from lt_trainer.models.layers import ACTIVATIONS, Dropout, activate, add_norm
from lt_trainer.models.running import Layer, TokenWise
from lt_trainer.models.vocabulary import MaskedLM
from lt_trainer.packed import PackedBatch, Read, select_rows

if TYPE_CHECKING:
    from torch import Tensor

    from lt_trainer.models.attention import AttentionPlan


class BertConfig(PretrainedConfig):
    """The settings of BERT; names and defaults are the public ones (bert-base-uncased)."""

    model_type = "bert"

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    classifier_dropout: float | None = None
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    pad_token_id: int | None = 0
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    is_decoder: bool = False
    add_cross_attention: bool = False
    use_cache: bool = True
    initializer_range: float = 0.02

    row_limits: ClassVar[dict[str, str]] = {
        "input_ids": "vocab_size",
        "position_ids": "max_position_embeddings",
        "token_type_ids": "type_vocab_size",
    }

    def problems(self) -> list[str]:
        """As in PretrainedConfig; and variants of BERT that are not built here."""
        found = super().problems()
        heads = self.num_attention_heads
        if not found and self.hidden_size % heads:
            found.append(f"hidden_size={self.hidden_size}: expected a multiple of num_attention_heads={heads}")
        if str(self.hidden_act) not in ACTIVATIONS:
            found.append(f"hidden_act={self.hidden_act!r}: expected one of {', '.join(ACTIVATIONS)}")
        if self.is_decoder or self.add_cross_attention:
            found.append("is_decoder or add_cross_attention is on: BERT as a decoder is not native")
        if (kind := getattr(self, "position_embedding_type", "absolute")) != "absolute":
            found.append(f"position_embedding_type={kind!r}: expected 'absolute'")
        return found


class BertEmbeddings(nn.Module):
    """Word, type and position embeddings of the real tokens, summed and normed."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=config.pad_token_id)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, packed: PackedBatch) -> Tensor:
        """[N, D]."""
        types_N = torch.zeros_like(packed.input_ids_N) if packed.token_type_ids_N is None else packed.token_type_ids_N
        x_ND = self.word_embeddings(packed.input_ids_N) + self.token_type_embeddings(types_N)
        x_ND = x_ND + self.position_embeddings(packed.position_ids_N)
        dropped: Tensor = self.dropout(self.LayerNorm(x_ND))
        return dropped


class BertSelfAttention(nn.Module):
    """Projections and heads; what happens between them is `attend`'s."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, asking_RD: Tensor, x_ND: Tensor, plan: AttentionPlan) -> Tensor:
        """[R, D]: what the asking tokens learn from all tokens of their rows."""
        dropout = self.config.attention_probs_dropout_prob if self.training else 0.0
        projected = (self.query(asking_RD), self.key(x_ND), self.value(x_ND))
        return attend_heads(*projected, plan, self.config, dropout)


class BertResidual(TokenWise):
    """A projection back to the width of the model, and norm(residual + dropout)."""

    def __init__(self, config: BertConfig, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout_prob = config.hidden_dropout_prob

    def forward(self, x: Tensor, residual_ND: Tensor) -> Tensor:
        """[N, D]."""
        return add_norm(self.dense(x), residual_ND, self.LayerNorm, self.dropout_prob)


class BertAttention(nn.Module):
    """Self-attention with its residual."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.self = BertSelfAttention(config)
        self.output = BertResidual(config, config.hidden_size)

    def forward(self, asking_RD: Tensor, x_ND: Tensor, plan: AttentionPlan) -> Tensor:
        """[R, D]."""
        attended: Tensor = self.output(self.self(asking_RD, x_ND, plan), asking_RD)
        return attended


class BertDense(TokenWise):
    """A projection with the configuration's activation."""

    def __init__(self, config: BertConfig, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, width)
        self.activation = ACTIVATIONS[config.hidden_act]

    def forward(self, x_ND: Tensor) -> Tensor:
        """[N, width]."""
        return activate(self.dense, x_ND, self.activation)


class BertLayer(Layer):
    """Attention and feed-forward; computed for the asking tokens alone."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.attention = BertAttention(config)
        self.intermediate = BertDense(config, config.intermediate_size)
        self.output = BertResidual(config, config.intermediate_size)

    def forward(self, asking_RD: Tensor, x_ND: Tensor, plan: AttentionPlan) -> Tensor:
        """[R, D]."""
        attended_RD = self.attention(asking_RD, x_ND, plan)
        output: Tensor = self.output(self.intermediate(attended_RD), attended_RD)
        return output


class BertEncoder(Layers):
    """The layers."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config, [BertLayer(config) for _ in range(config.num_hidden_layers)])


class BertPooler(nn.Module):
    """The state of a row's first token, projected."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x_BD: Tensor) -> Tensor:
        """[B, D]."""
        return torch.tanh(self.dense(x_BD))


class BertPreTrainedModel(PreTrainedModel):
    """What all BERT models share."""

    config: BertConfig
    config_class = BertConfig
    base_model_prefix = "bert"


class BertModel(BertPreTrainedModel, HiddenStates):
    """Embeddings, encoder and pooler."""

    fresh_allowed = ("pooler.",)
    embeddings_class: ClassVar[type[BertEmbeddings]] = BertEmbeddings

    def __init__(self, config: BertConfig, add_pooling_layer: bool = True) -> None:
        super().__init__(config)
        self.embeddings = self.embeddings_class(config)
        self.encoder = BertEncoder(config)
        self.pooler = BertPooler(config) if add_pooling_layer else None
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        """The word embeddings."""
        return self.embeddings.word_embeddings

    def encode(self, packed: PackedBatch, read: Read | None = None) -> Tensor:
        """Last hidden states of the tokens that are read [R, D], or of all [N, D]."""
        states: Tensor = self.encoder(self.embeddings(packed), packed.lengths, read)
        return states

    def pooled(self, x_ND: Tensor, packed: PackedBatch) -> Tensor | None:
        """Of each row's first token, [B, D]; None without a pooler."""
        return None if self.pooler is None else self.pooler(select_rows(x_ND, packed.first().index_R))


class BertForSequenceClassification(BertPreTrainedModel, SequenceClassification):
    """BERT with a classifier of rows on the pooled first token."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.bert = BertModel(config)
        self.dropout = Dropout(classifier_dropout(config))
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def scores(self, x: Tensor) -> Tensor:
        """[B, C]."""
        return pooled_scores(self.bert, self.dropout, self.classifier, x)


class BertForTokenClassification(BertPreTrainedModel, TokenClassification):
    """BERT with a classifier of tokens."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.bert = BertModel(config, add_pooling_layer=False)
        self.dropout = Dropout(classifier_dropout(config))
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()


class BertForQuestionAnswering(BertPreTrainedModel, QuestionAnswering):
    """BERT with scores for the start and the end of an answer."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.bert = BertModel(config, add_pooling_layer=False)
        self.qa_outputs = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()


class BertForMultipleChoice(BertPreTrainedModel, MultipleChoice):
    """BERT with a score for each of a row's texts on the pooled first token."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.bert = BertModel(config)
        self.dropout = Dropout(classifier_dropout(config))
        self.classifier = nn.Linear(config.hidden_size, 1)
        self.post_init()

    def scores(self, x: Tensor) -> Tensor:
        """[B * C, 1]."""
        return pooled_scores(self.bert, self.dropout, self.classifier, x)


class BertNextSentenceHead(nn.Module):
    """Gives the projection its public name."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.seq_relationship = nn.Linear(config.hidden_size, 2)


class BertForNextSentencePrediction(BertPreTrainedModel, NextSentence):
    """BERT that says whether a text follows another."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.bert = BertModel(config)
        self.cls = BertNextSentenceHead(config)
        self.post_init()

    def scores(self, x: Tensor) -> Tensor:
        """[B, 2]."""
        return pooled_scores(self.bert, nn.Identity(), self.cls.seq_relationship, x)


class BertTransform(BertDense):
    """What the masked language model does before the vocabulary: dense, activation, norm."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, x_ND: Tensor) -> Tensor:
        """[N, D]."""
        normed: Tensor = self.LayerNorm(super().forward(x_ND))
        return normed


class BertPredictions(nn.Module):
    """What scores the vocabulary; the decoder's weight is the word embeddings, its bias is `bias`."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.transform = BertTransform(config)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))


class BertMaskedLMHead(nn.Module):
    """Gives the predictions their public name."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.predictions = BertPredictions(config)


class BertForMaskedLM(BertPreTrainedModel, MaskedLM):
    """BERT that predicts hidden tokens; only those are projected to the vocabulary."""

    tied_weights: ClassVar[dict[str, str]] = {
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    }

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.bert = BertModel(config, add_pooling_layer=False)
        self.cls = BertMaskedLMHead(config)
        self.post_init()

    def get_output_embeddings(self) -> nn.Linear:
        """The decoder."""
        return self.cls.predictions.decoder

    def transform(self, x: Tensor) -> Tensor:
        """Dense, activation and norm."""
        transformed: Tensor = self.cls.predictions.transform(x)
        return transformed


def pooled_scores(body: BertModel, dropout: nn.Module, classifier: nn.Module, x_BD: Tensor) -> Tensor:
    """Scores of rows from the states of their first tokens: [B, classes]."""
    assert body.pooler is not None
    scores: Tensor = classifier(dropout(body.pooler(x_BD)))
    return scores


def classifier_dropout(config: BertConfig) -> float:
    """What a classifier drops: `classifier_dropout`, or as much as the layers do."""
    return config.hidden_dropout_prob if config.classifier_dropout is None else config.classifier_dropout


MODELS = {
    "AutoModel": BertModel,
    "AutoModelForSequenceClassification": BertForSequenceClassification,
    "AutoModelForTokenClassification": BertForTokenClassification,
    "AutoModelForQuestionAnswering": BertForQuestionAnswering,
    "AutoModelForMaskedLM": BertForMaskedLM,
    "AutoModelForMultipleChoice": BertForMultipleChoice,
    "AutoModelForNextSentencePrediction": BertForNextSentencePrediction,
}
