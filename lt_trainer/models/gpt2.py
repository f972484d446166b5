"""GPT-2, packed, in the public parameter names.

Dimension letters: B rows, T padded length, N packed tokens, R tokens that are read, D width, H heads, K head width,
V vocabulary, C classes.

Source: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019; names and shapes of the public
checkpoints.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from lt_trainer.models.attention import AttentionPlan, attend, plan_attention
from lt_trainer.models.base import PreTrainedModel
from lt_trainer.models.causal import Continues
from lt_trainer.models.configuration import PretrainedConfig
from lt_trainer.models.heads import HiddenStates, QuestionAnswering, SequenceClassification, TokenClassification
from lt_trainer.models.layers import ACTIVATIONS, Conv1D, Dropout, activate, add_dropped
from lt_trainer.models.running import Layer, TokenWise
from lt_trainer.models.vocabulary import CausalLM
from lt_trainer.packed import PackedBatch, Read, select_rows

if TYPE_CHECKING:
    from torch import Tensor

    from lt_trainer.models.cache import Cache, LayerCache


class GPT2Config(PretrainedConfig):
    """The settings of GPT-2; names and defaults are the public ones."""

    model_type = "gpt2"

    vocab_size: int = 50257
    n_positions: int = 1024
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    n_inner: int | None = None
    activation_function: str = "gelu_new"
    resid_pdrop: float = 0.1
    embd_pdrop: float = 0.1
    attn_pdrop: float = 0.1
    layer_norm_epsilon: float = 1e-5
    initializer_range: float = 0.02
    scale_attn_weights: bool = True
    scale_attn_by_inverse_layer_idx: bool = False
    reorder_and_upcast_attn: bool = False
    add_cross_attention: bool = False
    use_cache: bool = True
    classifier_dropout: float | None = None
    bos_token_id: int | None = 50256
    eos_token_id: int | list[int] | None = 50256
    pad_token_id: int | None = None

    row_limits: ClassVar[dict[str, str]] = {
        "input_ids": "vocab_size",
        "position_ids": "n_positions",
        "token_type_ids": "vocab_size",  # types are embedded like tokens
    }
    aliases: ClassVar[dict[str, str]] = {
        "hidden_size": "n_embd",
        "max_position_embeddings": "n_positions",
        "num_attention_heads": "n_head",
        "num_hidden_layers": "n_layer",
    }

    def problems(self) -> list[str]:
        """As in PretrainedConfig; and variants of GPT-2 that are not built here."""
        found = super().problems()
        if not found and self.n_embd % self.n_head:
            found.append(f"n_embd={self.n_embd}: expected a multiple of n_head={self.n_head}")
        if str(self.activation_function) not in ACTIVATIONS:
            found.append(f"activation_function={self.activation_function!r}: expected one of {', '.join(ACTIVATIONS)}")
        if self.add_cross_attention:
            found.append("add_cross_attention is on: expected false, GPT-2 asks no encoder here")
        return found


class GPT2Attention(nn.Module):
    """Projections and heads; what happens between them is `attend`'s."""

    def __init__(self, config: GPT2Config, layer: int) -> None:
        super().__init__()
        self.config = config
        self.c_attn = Conv1D(3 * config.n_embd, config.n_embd)
        self.c_proj = Conv1D(config.n_embd, config.n_embd)
        self.scale = (config.n_embd // config.n_head) ** -0.5 if config.scale_attn_weights else 1.0
        if config.scale_attn_by_inverse_layer_idx:
            self.scale /= layer + 1

    def forward(
        self, asking_RD: Tensor, x_ND: Tensor, plan: AttentionPlan | None, cache: LayerCache | None = None
    ) -> Tensor:
        """[R, D]: what the asking tokens learn from the tokens of their rows up to themselves, and from those kept."""
        width = self.config.n_embd
        if asking_RD is x_ND:
            q_RD, k_ND, v_ND = self.c_attn(x_ND).split(width, dim=1)
        else:
            q_RD = self.c_attn(asking_RD, slice(width))
            k_ND, v_ND = self.c_attn(x_ND, slice(width, None)).split(width, dim=1)
        q_RHK, k_NHK, v_NHK = (x.unflatten(1, (self.config.n_head, -1)) for x in (q_RD, k_ND, v_ND))
        if cache is not None:
            attended_RHK = cache.attend(q_RHK, k_NHK, v_NHK, plan, self.scale)
        else:
            assert plan is not None
            dropout, path = self.config.attn_pdrop if self.training else 0.0, self.config.attn_implementation
            attended_RHK = attend(q_RHK, k_NHK, v_NHK, plan, dropout=dropout, scale=self.scale, implementation=path)
        projected: Tensor = self.c_proj(attended_RHK.flatten(1))
        return projected


class GPT2MLP(TokenWise):
    """The feed-forward part."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        width = config.n_inner or 4 * config.n_embd
        self.c_fc = Conv1D(width, config.n_embd)
        self.c_proj = Conv1D(config.n_embd, width)
        self.activation = ACTIVATIONS[config.activation_function]

    def forward(self, x_ND: Tensor) -> Tensor:
        """[N, D]."""
        output: Tensor = self.c_proj(activate(self.c_fc, x_ND, self.activation))
        return output


class GPT2Block(Layer):
    """Attention and feed-forward, each normed before and added to what came in."""

    def __init__(self, config: GPT2Config, layer: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.attn = GPT2Attention(config, layer)
        self.ln_2 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.mlp = GPT2MLP(config)
        self.dropout_prob = config.resid_pdrop

    def forward(
        self,
        x_ND: Tensor,
        plan: AttentionPlan | None,
        index_R: Tensor | None = None,
        cache: LayerCache | None = None,
    ) -> Tensor:
        """[N, D], or [R, D] where only the tokens at `index_R` ask."""
        normed_ND = asking_RD = self.ln_1(x_ND)
        if index_R is not None:
            x_ND, asking_RD = select_rows(x_ND, index_R), select_rows(normed_ND, index_R)
        x_ND = add_dropped(self.attn(asking_RD, normed_ND, plan, cache), x_ND, self.dropout_prob, self.training)
        return add_dropped(self.mlp(self.ln_2(x_ND)), x_ND, self.dropout_prob, self.training)


class GPT2PreTrainedModel(PreTrainedModel):
    """What all GPT-2 models share."""

    config: GPT2Config
    config_class = GPT2Config
    base_model_prefix = "transformer"
    ignored_keys = (r"attn\.(masked_)?bias$",)  # masks that early checkpoints hold as tensors

    def init_module(self, module: nn.Module) -> None:
        """As in PreTrainedModel."""
        super().init_module(module)
        if isinstance(module, Conv1D):
            module.weight.normal_(0.0, self.config.initializer_range)

    @torch.no_grad()
    def init_weights(self, only: object = None) -> None:
        """As in PreTrainedModel; what is added to the residual is smaller by the root of how often it is added."""
        super().init_weights(only)  # type: ignore[arg-type]
        std = self.config.initializer_range / (2 * self.config.n_layer) ** 0.5
        for name, module in self.named_modules():
            weight = f"{name}.c_proj.weight"
            if isinstance(module, GPT2Attention | GPT2MLP) and (only is None or weight in only):  # type: ignore[operator]
                module.c_proj.weight.normal_(0.0, std)


class GPT2Model(GPT2PreTrainedModel, HiddenStates):
    """Embeddings, blocks and the last norm."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__(config)
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.n_positions, config.n_embd)
        self.drop = Dropout(config.embd_pdrop)
        self.h = nn.ModuleList([GPT2Block(config, layer) for layer in range(config.n_layer)])
        self.ln_f = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        """The token embeddings."""
        return self.wte

    def encode(self, packed: PackedBatch, read: Read | None = None) -> Tensor:
        """Last hidden states of the tokens that are read [R, D], or of all [N, D].

        The last block is computed at the read tokens alone where they are at most half: a mask that says which token
        each of them sees costs more than the kernel's own triangle.
        """
        x_ND = self.wte(packed.input_ids_N) + self.wpe(packed.position_ids_N)
        if packed.token_type_ids_N is not None:
            x_ND = x_ND + self.wte(packed.token_type_ids_N)
        x_ND = self.drop(x_ND)
        heads = self.config.n_head
        plan = plan_attention(packed.lengths, heads, device=x_ND.device, causal=True)
        few = read is not None and 2 * read.index_R.numel() <= packed.num_tokens
        for block in self.h[: len(self.h) - few]:
            x_ND = block(x_ND, plan)
        if read is not None:
            asked = plan.asked_by(read.lengths, heads, read.index_R) if few else plan
            x_ND = self.h[-1](x_ND, asked, read.index_R) if few else select_rows(x_ND, read.index_R)
        normed: Tensor = self.ln_f(x_ND)
        return normed

    def extend(self, ids_N: Tensor, positions_N: Tensor, cache: Cache, plan: AttentionPlan | None = None) -> Tensor:
        """States [N, D] of the prompt's tokens, or without a plan of one more token a row; keeps keys and values."""
        x_ND = self.wte(ids_N) + self.wpe(positions_N)
        for block, layer in zip(self.h, cache.layers, strict=True):
            x_ND = block(x_ND, plan, cache=layer)
        normed: Tensor = self.ln_f(x_ND)
        return normed


class GPT2LMHeadModel(GPT2PreTrainedModel, CausalLM, Continues):
    """GPT-2 that predicts the next token."""

    tied_weights: ClassVar[dict[str, str]] = {"lm_head.weight": "transformer.wte.weight"}

    def __init__(self, config: GPT2Config) -> None:
        super().__init__(config)
        self.transformer = GPT2Model(config)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.post_init()

    def get_output_embeddings(self) -> nn.Linear:
        """The scores' weight, which is that of the embeddings."""
        return self.lm_head


class GPT2ForSequenceClassification(GPT2PreTrainedModel, SequenceClassification):
    """GPT-2 with a classifier of rows on the last real token."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__(config)
        self.transformer = GPT2Model(config)
        self.score = nn.Linear(config.n_embd, config.num_labels, bias=False)
        self.post_init()

    def row_tokens(self, packed: PackedBatch) -> Read:
        """The last real token: the only one that has seen its row."""
        last_B = torch.tensor(list(accumulate(packed.lengths)), device=packed.index_N.device) - 1
        return Read(last_B, (1,) * len(packed.lengths))

    def scores(self, x: Tensor) -> Tensor:
        """[B, C]."""
        scores: Tensor = self.score(x)
        return scores


class GPT2ForTokenClassification(GPT2PreTrainedModel, TokenClassification):
    """GPT-2 with a classifier of tokens."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__(config)
        self.transformer = GPT2Model(config)
        self.dropout = Dropout(0.1 if config.classifier_dropout is None else config.classifier_dropout)
        self.classifier = nn.Linear(config.n_embd, config.num_labels)
        self.post_init()


class GPT2ForQuestionAnswering(GPT2PreTrainedModel, QuestionAnswering):
    """GPT-2 with scores for the start and the end of an answer."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__(config)
        self.transformer = GPT2Model(config)
        self.qa_outputs = nn.Linear(config.n_embd, 2)
        self.post_init()


MODELS = {
    "AutoModel": GPT2Model,
    "AutoModelForCausalLM": GPT2LMHeadModel,
    "AutoModelForSequenceClassification": GPT2ForSequenceClassification,
    "AutoModelForTokenClassification": GPT2ForTokenClassification,
    "AutoModelForQuestionAnswering": GPT2ForQuestionAnswering,
}
