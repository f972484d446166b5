"""DistilBERT, packed, in the public parameter names.

Dimension letters: B rows, T padded length, N packed tokens, R tokens that are read, D width, H heads, K head width,
V vocabulary, C classes.

Source: https://arxiv.org/abs/1910.01108; names and shapes of the public checkpoints.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from lt_trainer.models.base import PreTrainedModel
from lt_trainer.models.choice import MultipleChoice
from lt_trainer.models.configuration import PretrainedConfig
from lt_trainer.models.encoder import Layers, attend_heads
from lt_trainer.models.heads import HiddenStates, QuestionAnswering, SequenceClassification, TokenClassification
from lt_trainer.models.layers import ACTIVATIONS, Dropout, activate, add_norm
from lt_trainer.models.running import Layer, TokenWise
from lt_trainer.models.vocabulary import MaskedLM

if TYPE_CHECKING:
    from torch import Tensor

    from lt_trainer.models.attention import AttentionPlan
    from lt_trainer.packed import PackedBatch, Read

_EPS = 1e-12  # of every norm; no setting


class DistilBertConfig(PretrainedConfig):
    """The settings of DistilBERT; names and defaults are the public ones (distilbert-base-uncased)."""

    model_type = "distilbert"

    vocab_size: int = 30522
    max_position_embeddings: int = 512
    sinusoidal_pos_embds: bool = False
    n_layers: int = 6
    n_heads: int = 12
    dim: int = 768
    hidden_dim: int = 3072
    dropout: float = 0.1
    attention_dropout: float = 0.1
    activation: str = "gelu"
    initializer_range: float = 0.02
    qa_dropout: float = 0.1
    seq_classif_dropout: float = 0.2
    pad_token_id: int | None = 0
    eos_token_id: int | list[int] | None = None
    bos_token_id: int | None = None

    row_limits: ClassVar[dict[str, str]] = {"input_ids": "vocab_size", "position_ids": "max_position_embeddings"}
    aliases: ClassVar[dict[str, str]] = {
        "hidden_size": "dim",
        "num_attention_heads": "n_heads",
        "num_hidden_layers": "n_layers",
    }

    def problems(self) -> list[str]:
        """As in PretrainedConfig; and heads that do not divide the width."""
        found = super().problems()
        if not found and self.dim % self.n_heads:
            found.append(f"dim={self.dim}: expected a multiple of n_heads={self.n_heads}")
        if str(self.activation) not in ACTIVATIONS:
            found.append(f"activation={self.activation!r}: expected one of {', '.join(ACTIVATIONS)}")
        return found


class SinusoidalEmbedding(nn.Embedding):
    """Positions that begin as sines and cosines of falling frequency."""

    def fill(self) -> None:
        """Sets the table: column 2i is sin(position / 10000 ** (2i / D)), column 2i + 1 its cosine."""
        column = torch.arange(self.embedding_dim)
        rate = 10000.0 ** (-2 * (column // 2) / self.embedding_dim).double()
        angle = torch.arange(self.num_embeddings)[:, None] * rate
        self.weight.copy_(torch.where(column % 2 == 0, angle.sin(), angle.cos()))


class DistilBertEmbeddings(nn.Module):
    """Word and position embeddings of the real tokens, summed and normed."""

    def __init__(self, config: DistilBertConfig) -> None:
        super().__init__()
        positions = SinusoidalEmbedding if config.sinusoidal_pos_embds else nn.Embedding
        self.word_embeddings = nn.Embedding(config.vocab_size, config.dim, padding_idx=config.pad_token_id)
        self.position_embeddings = positions(config.max_position_embeddings, config.dim)
        self.LayerNorm = nn.LayerNorm(config.dim, eps=_EPS)
        self.dropout = Dropout(config.dropout)

    def forward(self, packed: PackedBatch) -> Tensor:
        """[N, D]; there are no token types."""
        x_ND = self.word_embeddings(packed.input_ids_N) + self.position_embeddings(packed.position_ids_N)
        dropped: Tensor = self.dropout(self.LayerNorm(x_ND))
        return dropped


class DistilBertSelfAttention(nn.Module):
    """Projections and heads; what happens between them is `attend`'s."""

    def __init__(self, config: DistilBertConfig) -> None:
        super().__init__()
        self.config = config
        self.q_lin = nn.Linear(config.dim, config.dim)
        self.k_lin = nn.Linear(config.dim, config.dim)
        self.v_lin = nn.Linear(config.dim, config.dim)
        self.out_lin = nn.Linear(config.dim, config.dim)

    def forward(self, asking_RD: Tensor, x_ND: Tensor, plan: AttentionPlan) -> Tensor:
        """[R, D]: what the asking tokens learn from all tokens of their rows."""
        dropout = self.config.attention_dropout if self.training else 0.0
        projected_RD = (self.q_lin(asking_RD), self.k_lin(x_ND), self.v_lin(x_ND))
        output: Tensor = self.out_lin(attend_heads(*projected_RD, plan, self.config, dropout))
        return output


class DistilBertFeedForward(TokenWise):
    """Two projections with the configuration's activation between."""

    def __init__(self, config: DistilBertConfig) -> None:
        super().__init__()
        self.lin1 = nn.Linear(config.dim, config.hidden_dim)
        self.lin2 = nn.Linear(config.hidden_dim, config.dim)
        self.activation = ACTIVATIONS[config.activation]

    def forward(self, x_ND: Tensor) -> Tensor:
        """[N, D]."""
        output: Tensor = self.lin2(activate(self.lin1, x_ND, self.activation))
        return output


class DistilBertBlock(Layer):
    """Attention and feed-forward; computed for the asking tokens alone."""

    def __init__(self, config: DistilBertConfig) -> None:
        super().__init__()
        self.attention = DistilBertSelfAttention(config)
        self.sa_layer_norm = nn.LayerNorm(config.dim, eps=_EPS)
        self.ffn = DistilBertFeedForward(config)
        self.output_layer_norm = nn.LayerNorm(config.dim, eps=_EPS)
        self.dropout_prob = config.dropout

    def forward(self, asking_RD: Tensor, x_ND: Tensor, plan: AttentionPlan) -> Tensor:
        """[R, D]; what attention brings is not dropped, what the feed-forward brings is."""
        attended_RD = add_norm(self.attention(asking_RD, x_ND, plan), asking_RD, self.sa_layer_norm)
        return add_norm(self.ffn(attended_RD), attended_RD, self.output_layer_norm, self.dropout_prob)


class DistilBertTransformer(Layers):
    """The layers."""

    def __init__(self, config: DistilBertConfig) -> None:
        super().__init__(config, [DistilBertBlock(config) for _ in range(config.n_layers)])


class DistilBertPreTrainedModel(PreTrainedModel):
    """What all DistilBERT models share."""

    config: DistilBertConfig
    config_class = DistilBertConfig
    base_model_prefix = "distilbert"

    def init_module(self, module: nn.Module) -> None:
        """As in PreTrainedModel; and the sines."""
        super().init_module(module)
        if isinstance(module, SinusoidalEmbedding):
            module.fill()


class DistilBertModel(DistilBertPreTrainedModel, HiddenStates):
    """Embeddings and layers."""

    def __init__(self, config: DistilBertConfig) -> None:
        super().__init__(config)
        self.embeddings = DistilBertEmbeddings(config)
        self.transformer = DistilBertTransformer(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        """The word embeddings."""
        return self.embeddings.word_embeddings

    def encode(self, packed: PackedBatch, read: Read | None = None) -> Tensor:
        """Last hidden states of the tokens that are read [R, D], or of all [N, D]."""
        states: Tensor = self.transformer(self.embeddings(packed), packed.lengths, read)
        return states


def row_scores(first: nn.Linear, dropout: nn.Module, classifier: nn.Linear, x: Tensor) -> Tensor:
    """Scores of rows from the states of their first tokens."""
    scores: Tensor = classifier(dropout(F.relu(first(x))))
    return scores


class DistilBertForSequenceClassification(DistilBertPreTrainedModel, SequenceClassification):
    """DistilBERT with a classifier of rows on the first token."""

    def __init__(self, config: DistilBertConfig) -> None:
        super().__init__(config)
        self.distilbert = DistilBertModel(config)
        self.pre_classifier = nn.Linear(config.dim, config.dim)
        self.classifier = nn.Linear(config.dim, config.num_labels)
        self.dropout = Dropout(config.seq_classif_dropout)
        self.post_init()

    def scores(self, x: Tensor) -> Tensor:
        """[B, C]."""
        return row_scores(self.pre_classifier, self.dropout, self.classifier, x)


class DistilBertForTokenClassification(DistilBertPreTrainedModel, TokenClassification):
    """DistilBERT with a classifier of tokens."""

    def __init__(self, config: DistilBertConfig) -> None:
        super().__init__(config)
        self.distilbert = DistilBertModel(config)
        self.dropout = Dropout(config.dropout)
        self.classifier = nn.Linear(config.dim, config.num_labels)
        self.post_init()


class DistilBertForQuestionAnswering(DistilBertPreTrainedModel, QuestionAnswering):
    """DistilBERT with scores for the start and the end of an answer."""

    def __init__(self, config: DistilBertConfig) -> None:
        super().__init__(config)
        self.distilbert = DistilBertModel(config)
        self.qa_outputs = nn.Linear(config.dim, config.num_labels)
        self.dropout = Dropout(config.qa_dropout)
        self.post_init()

    def scores(self, x: Tensor) -> Tensor:
        """[N, 2]."""
        scores: Tensor = self.qa_outputs(self.dropout(x))
        return scores


class DistilBertForMultipleChoice(DistilBertPreTrainedModel, MultipleChoice):
    """DistilBERT with a score for each of a row's texts on the first token."""

    def __init__(self, config: DistilBertConfig) -> None:
        super().__init__(config)
        self.distilbert = DistilBertModel(config)
        self.pre_classifier = nn.Linear(config.dim, config.dim)
        self.classifier = nn.Linear(config.dim, 1)
        self.dropout = Dropout(config.seq_classif_dropout)
        self.post_init()

    def scores(self, x: Tensor) -> Tensor:
        """[B * C, 1]."""
        return row_scores(self.pre_classifier, self.dropout, self.classifier, x)


class DistilBertForMaskedLM(DistilBertPreTrainedModel, MaskedLM):
    """DistilBERT that predicts hidden tokens; only those are projected to the vocabulary."""

    tied_weights: ClassVar[dict[str, str]] = {"vocab_projector.weight": "distilbert.embeddings.word_embeddings.weight"}

    def __init__(self, config: DistilBertConfig) -> None:
        super().__init__(config)
        self.activation = ACTIVATIONS[config.activation]
        self.distilbert = DistilBertModel(config)
        self.vocab_transform = nn.Linear(config.dim, config.dim)
        self.vocab_layer_norm = nn.LayerNorm(config.dim, eps=_EPS)
        self.vocab_projector = nn.Linear(config.dim, config.vocab_size)
        self.post_init()

    def get_output_embeddings(self) -> nn.Linear:
        """The projector."""
        return self.vocab_projector

    def transform(self, x: Tensor) -> Tensor:
        """Dense, activation and norm."""
        normed: Tensor = self.vocab_layer_norm(activate(self.vocab_transform, x, self.activation))
        return normed


MODELS = {
    "AutoModel": DistilBertModel,
    "AutoModelForSequenceClassification": DistilBertForSequenceClassification,
    "AutoModelForTokenClassification": DistilBertForTokenClassification,
    "AutoModelForQuestionAnswering": DistilBertForQuestionAnswering,
    "AutoModelForMaskedLM": DistilBertForMaskedLM,
    "AutoModelForMultipleChoice": DistilBertForMultipleChoice,
}
