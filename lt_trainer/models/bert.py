"""BERT, packed, in the public parameter names.

Dimension letters: B rows, T padded length, N packed tokens, R tokens that are read, D width, H heads, K head width,
V vocabulary, C classes.

Source: https://arxiv.org/abs/1810.04805; names and shapes of the public checkpoints.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from lt_trainer import losses
from lt_trainer.models.attention import AttentionPlan, attend, plan_attention
from lt_trainer.models.base import PreTrainedModel
from lt_trainer.models.configuration import PretrainedConfig
from lt_trainer.models.heads import Output, QuestionAnswering, SequenceClassification, TokenHead, as_asked
from lt_trainer.models.layers import ACTIVATIONS, Dropout, add_norm
from lt_trainer.models.outputs import ModelOutput
from lt_trainer.packed import PackedBatch, Read, select_rows, unpack

if TYPE_CHECKING:
    from torch import Tensor


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
        heads = (self.config.num_attention_heads, -1)
        q_RHK = self.query(asking_RD).unflatten(1, heads)
        k_NHK, v_NHK = self.key(x_ND).unflatten(1, heads), self.value(x_ND).unflatten(1, heads)
        dropout = self.config.attention_probs_dropout_prob if self.training else 0.0
        implementation = self.config.attn_implementation
        return attend(q_RHK, k_NHK, v_NHK, plan, dropout=dropout, implementation=implementation).flatten(1)


class BertResidual(nn.Module):
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


class BertDense(nn.Module):
    """A projection with the configuration's activation."""

    def __init__(self, config: BertConfig, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, width)
        self.activation = ACTIVATIONS[config.hidden_act]

    def forward(self, x_ND: Tensor) -> Tensor:
        """[N, width]."""
        return self.activation(self.dense(x_ND))


class BertLayer(nn.Module):
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


class BertEncoder(nn.Module):
    """The layers."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.layer = nn.ModuleList([BertLayer(config) for _ in range(config.num_hidden_layers)])

    def forward(self, x_ND: Tensor, lengths: tuple[int, ...], read: Read | None = None) -> Tensor:
        """Runs the layers.

        Args:
            x_ND: embedded tokens.
            lengths: of the rows, adding up to N.
            read: the tokens whose output is read: the last layer asks for those alone, which is exact.

        Returns:
            [R, D], or [N, D] without `read`.
        """
        heads = self.config.num_attention_heads
        plan = plan_attention(lengths, heads, device=x_ND.device)
        last = len(self.layer) - (read is not None)
        for layer in self.layer[:last]:
            x_ND = layer(x_ND, x_ND, plan)
        if read is None:
            return x_ND
        asking_RD = select_rows(x_ND, read.index_R)
        read_RD: Tensor = self.layer[last](asking_RD, x_ND, plan.asked_by(read.lengths, heads))
        return read_RD


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


class BertModel(BertPreTrainedModel):
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

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        *,
        packed: PackedBatch | None = None,
        return_dict: bool | None = None,
    ) -> Output:
        """Hidden states.

        Args:
            input_ids: [B, T]; with the next three the padded form of the input.
            attention_mask: [B, T], non-zero = real token.
            token_type_ids: [B, T] int64, which text of a pair a token is of: 0 the first, 1 the second; None = all 0.
            position_ids: [B, T] or [1, T] int64, row of the position table, from 0; None = each token's column.
            packed: the packed form of the input, in place of the padded one.
            return_dict: False returns a tuple.

        Returns:
            `last_hidden_state` [B, T, D], zero at pad positions; `pooler_output` [B, D], of each row's first token.
        """
        packed, _ = self.packed_inputs(input_ids, attention_mask, token_type_ids, position_ids, packed)
        x_ND = self.encode(packed)
        pooled_BD = None if self.pooler is None else self.pooler(select_rows(x_ND, packed.first().index_R))
        output = ModelOutput({"last_hidden_state": unpack(x_ND, packed), "pooler_output": pooled_BD})
        return as_asked(output, return_dict)


class BertForSequenceClassification(BertPreTrainedModel, SequenceClassification):
    """BERT with a classifier of rows on the pooled first token."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.bert = BertModel(config)
        self.dropout = Dropout(_classifier_dropout(config))
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def scores(self, x: Tensor) -> Tensor:
        """[B, C]."""
        assert self.bert.pooler is not None
        scores: Tensor = self.classifier(self.dropout(self.bert.pooler(x)))
        return scores


class BertForTokenClassification(BertPreTrainedModel, TokenHead):
    """BERT with a classifier of tokens."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.bert = BertModel(config, add_pooling_layer=False)
        self.dropout = Dropout(_classifier_dropout(config))
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def scores(self, x: Tensor) -> Tensor:
        """[R, C]."""
        scores: Tensor = self.classifier(self.dropout(x))
        return scores


class BertForQuestionAnswering(BertPreTrainedModel, QuestionAnswering):
    """BERT with scores for the start and the end of an answer."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.bert = BertModel(config, add_pooling_layer=False)
        self.qa_outputs = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def scores(self, x: Tensor) -> Tensor:
        """[N, 2]."""
        scores: Tensor = self.qa_outputs(x)
        return scores


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
    """Scores of the vocabulary; the decoder's weight is the word embeddings, its bias is `bias`."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.transform = BertTransform(config)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(self, x_ND: Tensor) -> Tensor:
        """[N, V]."""
        scores: Tensor = self.decoder(self.transform(x_ND))
        return scores


class BertMaskedLMHead(nn.Module):
    """Gives the predictions their public name."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.predictions = BertPredictions(config)


class BertForMaskedLM(BertPreTrainedModel, TokenHead):
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

    @property
    def num_classes(self) -> int:
        """The vocabulary."""
        return self.config.vocab_size

    def scores(self, x: Tensor) -> Tensor:
        """[R, V]."""
        scores: Tensor = self.cls.predictions(x)
        return scores

    def loss_at(self, x_RD: Tensor, labels_R: Tensor) -> losses.SumAndCount:
        """The loss at the hidden tokens, a chunk of logits at a time."""
        head = self.cls.predictions
        return losses.linear_cross_entropy(head.transform(x_RD), head.decoder.weight, head.decoder.bias, labels_R)


def _classifier_dropout(config: BertConfig) -> float:
    return config.hidden_dropout_prob if config.classifier_dropout is None else config.classifier_dropout


MODELS = {
    "AutoModel": BertModel,
    "AutoModelForSequenceClassification": BertForSequenceClassification,
    "AutoModelForTokenClassification": BertForTokenClassification,
    "AutoModelForQuestionAnswering": BertForQuestionAnswering,
    "AutoModelForMaskedLM": BertForMaskedLM,
}
