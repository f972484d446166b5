"""T5 (v1.0 and v1.1), packed, in the public parameter names.

Dimension letters: B rows, T padded length, N packed tokens, R tokens that are read, S packed tokens of the source,
D width, H heads, K head width, L the longest row, V vocabulary, C classes.

Distances between tokens count real tokens: padding on either side changes none of them.

Source: https://arxiv.org/abs/1910.10683; v1.1: https://arxiv.org/abs/2002.05202; names of the public checkpoints.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, cast

from torch import nn

from lt_trainer.models.attention import AttentionPlan, attend, plan_attention
from lt_trainer.models.base import PreTrainedModel
from lt_trainer.models.configuration import PretrainedConfig
from lt_trainer.models.heads import (
    ClassificationHead,
    HiddenStates,
    QuestionAnswering,
    SequenceClassification,
    TokenClassification,
)
from lt_trainer.models.layers import ACTIVATIONS, DrawnLinear, Dropout, RMSNorm, activate, add_dropped
from lt_trainer.models.relative import RelativeBias
from lt_trainer.models.running import Layer, TokenWise
from lt_trainer.models.seq2seq import EncoderDecoder, EncoderDecoderStates, ReadsItself, Seq2SeqLM, Writes, last_end
from lt_trainer.packed import PackedBatch, Read, select_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from lt_trainer.models.cache import Cache, LayerCache

    Cross: TypeAlias = tuple[Tensor | None, AttentionPlan | None] | None
    Caches: TypeAlias = tuple[LayerCache | None, LayerCache | None]


class T5Config(PretrainedConfig):
    """The settings of T5; names and defaults are the public ones.

    `feed_forward_proj` says `dense_act_fn` and `is_gated_act` where they are not given. A file with
    `tie_word_embeddings` false (v1.1) means outputs that are not scaled: whether `lm_head` is a tensor of its own is
    told by the weights, as in `transformers`.
    """

    model_type = "t5"

    vocab_size: int = 32128
    d_model: int = 512
    d_kv: int = 64
    d_ff: int = 2048
    num_layers: int = 6
    num_decoder_layers: int | None = None
    num_heads: int = 8
    relative_attention_num_buckets: int = 32
    relative_attention_max_distance: int = 128
    dropout_rate: float = 0.1
    classifier_dropout: float = 0.0
    layer_norm_epsilon: float = 1e-6
    initializer_factor: float = 1.0
    feed_forward_proj: str = "relu"
    dense_act_fn: str = "relu"
    is_gated_act: bool = False
    scale_decoder_outputs: bool = True
    is_encoder_decoder: bool = True
    use_cache: bool = True
    pad_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 1
    decoder_start_token_id: int | None = None

    row_limits: ClassVar[dict[str, str]] = {"input_ids": "vocab_size"}
    aliases: ClassVar[dict[str, str]] = {
        "hidden_size": "d_model",
        "num_attention_heads": "num_heads",
        "num_hidden_layers": "num_layers",
        "head_dim": "d_kv",
    }

    def _fill(self, values: Mapping[str, Any], num_labels: int | None, replace_labels: bool = False) -> None:
        projection = str(values.get("feed_forward_proj", self.feed_forward_proj))
        gate, _, activation = projection.rpartition("-")
        derived = {
            "is_gated_act": gate == "gated",
            "dense_act_fn": "gelu_new" if projection == "gated-gelu" else activation,
            "scale_decoder_outputs": values.get("tie_word_embeddings") is not False,
        }
        super()._fill({**derived, **values, "tie_word_embeddings": True}, num_labels, replace_labels)
        if self.num_decoder_layers is None:
            self.num_decoder_layers = self.num_layers

    def problems(self) -> list[str]:
        """As in PretrainedConfig; and activations that are not known."""
        found = super().problems()
        gate = str(self.feed_forward_proj).rpartition("-")[0]
        if str(self.dense_act_fn) not in ACTIVATIONS or gate not in ("", "gated"):
            known = ", ".join(ACTIVATIONS)
            found.append(f"feed_forward_proj={self.feed_forward_proj!r}: expected {known}, or one after 'gated-'")
        return found


class T5Attention(nn.Module):
    """Projections and heads; what happens between them is `attend`'s. Scores are not scaled."""

    def __init__(self, config: T5Config, has_relative_attention_bias: bool = False) -> None:
        super().__init__()
        self.config = config
        width, inner = config.d_model, config.num_heads * config.d_kv
        self.q = DrawnLinear(width, inner, (width * config.d_kv) ** -0.5)
        self.k = DrawnLinear(width, inner, width**-0.5)
        self.v = DrawnLinear(width, inner, width**-0.5)
        self.o = DrawnLinear(inner, width, inner**-0.5)
        if has_relative_attention_bias:
            self.relative_attention_bias = RelativeBias(
                config.relative_attention_num_buckets, config.num_heads, config.relative_attention_max_distance
            )

    def forward(self, x_ND: Tensor, asked_SD: Tensor, plan: AttentionPlan | None, cache: LayerCache | None) -> Tensor:
        """[N, D]: what the tokens learn from those that they ask, and from those that are kept."""
        heads = (self.config.num_heads, -1)
        q_NHK = self.q(x_ND).unflatten(1, heads)
        if cache is not None and cache.is_source and cache.keys is not None:
            return cast("Tensor", self.o(cache.ask(q_NHK, 1.0).flatten(1)))
        k_SHK, v_SHK = self.k(asked_SD).unflatten(1, heads), self.v(asked_SD).unflatten(1, heads)
        if cache is not None:
            attended_NHK = cache.attend(q_NHK, k_SHK, v_SHK, plan, 1.0)
        else:
            assert plan is not None
            dropout, path = self.config.dropout_rate if self.training else 0.0, self.config.attn_implementation
            attended_NHK = attend(q_NHK, k_SHK, v_SHK, plan, dropout=dropout, scale=1.0, implementation=path)
        return cast("Tensor", self.o(attended_NHK.flatten(1)))


class T5Dense(TokenWise):
    """Two projections with an activation between, and in v1.1 a gate beside it."""

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        std = config.d_model**-0.5
        self.gated = config.is_gated_act
        if self.gated:
            self.wi_0, self.wi_1 = (DrawnLinear(config.d_model, config.d_ff, std) for _ in range(2))
        else:
            self.wi = DrawnLinear(config.d_model, config.d_ff, std)
        self.wo = DrawnLinear(config.d_ff, config.d_model, config.d_ff**-0.5)
        self.dropout = Dropout(config.dropout_rate)
        self.activation = ACTIVATIONS[config.dense_act_fn]

    def forward(self, x_ND: Tensor) -> Tensor:
        """[N, D]."""
        inner = activate(self.wi_0 if self.gated else self.wi, x_ND, self.activation)
        if self.gated:
            inner = inner * self.wi_1(x_ND)
        return cast("Tensor", self.wo(self.dropout(inner)))


class T5Sublayer(nn.Module):
    """A part of a block by its public name: normed before, added to what came in."""

    def __init__(self, config: T5Config, name: str, part: nn.Module) -> None:
        super().__init__()
        self.name = name
        self.add_module(name, part)
        self.layer_norm = RMSNorm(config.d_model, config.layer_norm_epsilon)
        self.dropout_rate = config.dropout_rate

    def forward(self, x_ND: Tensor, *asked: Any) -> Tensor:
        """[N, D]; an attention also gets the states that are asked (None = its own), the plan and the cache."""
        normed_ND, part = self.layer_norm(x_ND), self.get_submodule(self.name)
        if asked and asked[0] is None:
            asked = (normed_ND, *asked[1:])
        return add_dropped(part(normed_ND, *asked), x_ND, self.dropout_rate, self.training)


class T5Block(Layer):
    """Self-attention, in the decoder attention to the encoder, and feed-forward."""

    def __init__(self, config: T5Config, is_decoder: bool, has_relative_attention_bias: bool) -> None:
        super().__init__()
        self.stands_alone = not has_relative_attention_bias  # which the stack reads, for all blocks
        parts = {"SelfAttention": T5Attention(config, has_relative_attention_bias)}
        if is_decoder:
            parts["EncDecAttention"] = T5Attention(config)
        layers = [T5Sublayer(config, name, part) for name, part in parts.items()]
        self.layer = nn.ModuleList([*layers, T5Sublayer(config, "DenseReluDense", T5Dense(config))])

    def forward(self, x_ND: Tensor, plan: AttentionPlan | None, cross: Cross, caches: Caches) -> Tensor:
        """[N, D]; `cross` holds the encoder's states and the plan for asking them."""
        x_ND = self.layer[0](x_ND, None, plan, caches[0])
        if cross is not None:
            x_ND = self.layer[1](x_ND, *cross, caches[1])
        return cast("Tensor", self.layer[-1](x_ND))


class T5Stack(nn.Module):
    """The encoder, or the decoder."""

    def __init__(self, config: T5Config, is_decoder: bool = False) -> None:
        super().__init__()
        self.config, self.is_decoder = config, is_decoder
        layers = config.num_decoder_layers if is_decoder else config.num_layers
        assert layers is not None
        self.embed_tokens = nn.Embedding(config.vocab_size, config.d_model)
        self.block = nn.ModuleList([T5Block(config, is_decoder, layer == 0) for layer in range(layers)])
        self.final_layer_norm = RMSNorm(config.d_model, config.layer_norm_epsilon)
        self.dropout = Dropout(config.dropout_rate)

    def forward(
        self,
        packed: PackedBatch,
        memory_SD: Tensor | None = None,
        memory_lengths: tuple[int, ...] = (),
        cache: Cache | None = None,
    ) -> Tensor:
        """[N, D]: runs the blocks.

        Args:
            packed: the tokens.
            memory_SD: the encoder's states, which a decoder asks.
            memory_lengths: how many of them belong to each row.
            cache: keeps what later tokens ask.
        """
        heads, lengths, device = self.config.num_heads, packed.lengths, packed.index_N.device
        plan = plan_attention(lengths, heads, device=device, causal=self.is_decoder)
        plan = plan.with_bias(self.relative.table(max(lengths), both_ways=not self.is_decoder))
        if memory_SD is None:
            return self._run(packed.input_ids_N, plan, None, cache)
        cross_plan = plan_attention(lengths, heads, device=device, key_lengths=memory_lengths)
        return self._run(packed.input_ids_N, plan, (memory_SD, cross_plan), cache)

    def extend(self, ids_b: Tensor, cache: Cache) -> Tensor:
        """States [b, D] of one more token a row, which asks what is kept."""
        cache.next_positions()
        cache.slots.bias = self.relative.table(cache.slots.filled, both_ways=False)[:, -1:]
        return self._run(ids_b, None, (None, None), cache)

    def _run(self, ids_N: Tensor, plan: AttentionPlan | None, cross: Cross, cache: Cache | None) -> Tensor:
        x_ND = self.dropout(self.embed_tokens(ids_N))
        pairs = [(None, None)] * len(self.block) if cache is None else cache.pairs()
        for block, caches in zip(self.block, pairs, strict=True):
            x_ND = block(x_ND, plan, cross, caches)
        return cast("Tensor", self.dropout(self.final_layer_norm(x_ND)))

    @property
    def relative(self) -> RelativeBias:
        """The first block's bias, which all of them add."""
        return cast("RelativeBias", self.get_submodule("block.0.layer.0.SelfAttention.relative_attention_bias"))


class T5PreTrainedModel(PreTrainedModel):
    """What all T5 models share."""

    config: T5Config
    config_class = T5Config
    base_model_prefix = "transformer"
    ignored_keys: ClassVar[tuple[str, ...]] = (r"EncDecAttention\.relative_attention_bias\.weight$",)

    def get_input_embeddings(self) -> nn.Embedding:
        """The token embeddings of all stacks."""
        return cast("nn.Embedding", self.base_model.get_submodule("shared"))

    def init_module(self, module: nn.Module) -> None:
        """Normal weights, each kind with its spread; norms of one."""
        factor, width = self.config.initializer_factor, self.config.d_model
        if isinstance(module, RMSNorm):
            module.weight.fill_(factor)
        elif isinstance(module, DrawnLinear):
            module.weight.normal_(0.0, factor * module.std)
        elif isinstance(module, nn.Embedding):
            module.weight.normal_(0.0, factor * (width**-0.5 if isinstance(module, RelativeBias) else 1.0))
        elif isinstance(module, nn.Linear):
            module.weight.normal_(0.0, factor * width**-0.5)
            module.bias.zero_()


class _T5EncoderDecoder(T5PreTrainedModel, EncoderDecoder):
    """Both stacks over shared embeddings."""

    tied_weights: ClassVar[dict[str, str]] = {
        "encoder.embed_tokens.weight": "shared.weight",
        "decoder.embed_tokens.weight": "shared.weight",
    }

    def __init__(self, config: T5Config) -> None:
        super().__init__(config)
        self.shared = nn.Embedding(config.vocab_size, config.d_model)
        self.encoder = T5Stack(config)
        self.decoder = T5Stack(config, is_decoder=True)

    def decode(self, packed: PackedBatch, decoder: PackedBatch) -> tuple[Tensor, Tensor]:
        """Last hidden states of the decoder [N, D] and of the encoder [S, D]."""
        memory_SD = self.encoder(packed)
        return self.decoder(decoder, memory_SD, packed.lengths), memory_SD


class T5Model(_T5EncoderDecoder, ReadsItself, EncoderDecoderStates):
    """Encoder and decoder."""

    def __init__(self, config: T5Config) -> None:
        super().__init__(config)
        self.post_init()


class T5EncoderModel(T5PreTrainedModel, HiddenStates):
    """The encoder alone."""

    tied_weights: ClassVar[dict[str, str]] = {"encoder.embed_tokens.weight": "shared.weight"}
    ignored_keys = (r"^decoder\.", r"^lm_head\.")

    def __init__(self, config: T5Config) -> None:
        super().__init__(config)
        self.shared = nn.Embedding(config.vocab_size, config.d_model)
        self.encoder = T5Stack(config)
        self.post_init()

    def encode(self, packed: PackedBatch, read: Read | None = None) -> Tensor:
        """Last hidden states of the tokens that are read [R, D], or of all [N, D]."""
        states_ND: Tensor = self.encoder(packed)
        return states_ND if read is None else select_rows(states_ND, read.index_R)


class T5ForConditionalGeneration(_T5EncoderDecoder, Seq2SeqLM, Writes):
    """T5 that writes text."""

    tied_weights: ClassVar[dict[str, str]] = {**_T5EncoderDecoder.tied_weights, "lm_head.weight": "shared.weight"}

    def __init__(self, config: T5Config) -> None:
        super().__init__(config)
        self.lm_head = DrawnLinear(config.d_model, config.vocab_size, 1.0)
        self.post_init()

    def get_output_embeddings(self) -> nn.Linear:
        """The scores' weight."""
        return self.lm_head

    def transform(self, x: Tensor) -> Tensor:
        """Scaled down where the scores are the embeddings."""
        return x * self.config.d_model**-0.5 if self.config.scale_decoder_outputs else x


class T5ForSequenceClassification(T5PreTrainedModel, SequenceClassification):
    """T5 with a classifier of rows on the decoder's state at the last end token."""

    tied_weights: ClassVar[dict[str, str]] = {
        f"transformer.{alias}": f"transformer.{source}" for alias, source in T5Model.tied_weights.items()
    }

    def __init__(self, config: T5Config) -> None:
        super().__init__(config)
        self.transformer = T5Model(config)
        self.classification_head = ClassificationHead(config.d_model, config.classifier_dropout, config.num_labels)
        self.post_init()

    def row_tokens(self, packed: PackedBatch) -> Read:
        """The last end token of each row."""
        return last_end(packed, self.config.eos_token_id)

    def scores(self, x: Tensor) -> Tensor:
        """[B, C]."""
        return cast("Tensor", self.classification_head(x))


class T5ForTokenClassification(T5PreTrainedModel, TokenClassification):
    """T5's encoder with a classifier of tokens."""

    tied_weights: ClassVar[dict[str, str]] = {"transformer.encoder.embed_tokens.weight": "transformer.shared.weight"}
    ignored_keys = T5EncoderModel.ignored_keys

    def __init__(self, config: T5Config) -> None:
        super().__init__(config)
        self.transformer = T5EncoderModel(config)
        self.dropout = Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.d_model, config.num_labels)
        self.post_init()


class T5ForQuestionAnswering(_T5EncoderDecoder, ReadsItself, QuestionAnswering):
    """T5 with scores for the start and the end of an answer, read at the decoder."""

    fresh_allowed = ("qa_outputs.",)

    def __init__(self, config: T5Config) -> None:
        super().__init__(config)
        self.qa_outputs = nn.Linear(config.d_model, config.num_labels)
        self.post_init()


MODELS = {
    "AutoModel": T5Model,
    "AutoModelForSeq2SeqLM": T5ForConditionalGeneration,
    "AutoModelForSequenceClassification": T5ForSequenceClassification,
    "AutoModelForTokenClassification": T5ForTokenClassification,
    "AutoModelForQuestionAnswering": T5ForQuestionAnswering,
}
