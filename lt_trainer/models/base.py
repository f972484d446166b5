"""What every native model can do: load, save, initialise, tie, count targets, pack.

Dimension letters: B rows, T padded length, N packed tokens, R tokens that are read, D width.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import nn

from lt_trainer import fetch, files
from lt_trainer.criterion import Criterion
from lt_trainer.hub import Pushable
from lt_trainer.models import running
from lt_trainer.models.checks import check_ids
from lt_trainer.models.configuration import PretrainedConfig, attention_problem
from lt_trainer.models.loading import read_config
from lt_trainer.models.pretrained import allocate, dtype_named, load_model, loading_info, on_meta
from lt_trainer.models.resizing import new_size, resize
from lt_trainer.packed import PackedBatch, Read, pack

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from torch import Tensor

_INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids")


class PreTrainedModel(nn.Module, Pushable):
    """A model with a configuration, in the public parameter names.

    A family's class calls `post_init` last in its `__init__`.

    Attributes:
        config: what the model was built from.
        config_class: its class.
        base_model_prefix: the attribute under which a model with a head keeps the model without.
        tied_weights: name -> the parameter that it is an alias of, where `config.tie_word_embeddings` is on.
        fresh_allowed: beginnings of names inside the base that a checkpoint need not hold.
        ignored_keys: patterns of stored names that nobody needs to hear of.
        label_names: columns of a batch that hold labels.
        scores_rows: the outputs are one row of numbers for each row, [B, C], whatever its length.
        criterion: how the loss judges classes; a run sets its own while it computes a loss.
    """

    config: PretrainedConfig
    criterion = Criterion()
    config_class: ClassVar[type[PretrainedConfig]] = PretrainedConfig
    base_model_prefix: ClassVar[str] = ""
    tied_weights: ClassVar[dict[str, str]] = {}
    fresh_allowed: ClassVar[tuple[str, ...]] = ()
    ignored_keys: ClassVar[tuple[str, ...]] = ()
    label_names: ClassVar[tuple[str, ...]] = ("labels",)
    scores_rows: ClassVar[bool] = False

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__()
        self.config = config
        self.untied: set[str] = set()

    def post_init(self) -> None:
        """Draws the parameters that an inner model has not drawn, and ties."""
        self.init_weights()
        self.tie_weights()

    # ---- what a family may override

    def init_module(self, module: nn.Module) -> None:
        """Initial values of a module's own parameters: normal weights, zero biases, norms of one."""
        std = self.config.initializer_range
        if isinstance(module, nn.Linear | nn.Embedding):
            module.weight.normal_(0.0, std)
        elif isinstance(module, nn.LayerNorm):
            module.weight.fill_(1.0)
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            module.weight[module.padding_idx].zero_()
        bias = getattr(module, "bias", None)
        if isinstance(bias, nn.Parameter):
            bias.zero_()

    def get_input_embeddings(self) -> nn.Embedding:
        """The embeddings of the token ids."""
        return self.base_model.get_input_embeddings()

    def get_output_embeddings(self) -> nn.Linear | None:
        """The projection to the vocabulary; None where the model has none."""
        return None

    def default_positions(self, input_ids_BT: Tensor) -> Tensor | None:
        """Positions [B, T] where a batch brings none; None = its columns."""
        return None

    def encode(self, packed: PackedBatch, read: Read | None = None) -> Tensor:
        """Last hidden states of the tokens that are read [R, D], or of all [N, D]."""
        raise NotImplementedError

    def count_targets(self, batch: Mapping[str, Any]) -> int:
        """Targets of a padded or packed batch that enter the loss, told by the labels alone."""
        raise ValueError(f"{type(self).__name__} has no loss, so a batch has no targets: take a model with a head")

    # ---- batches

    def pack_inputs(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Drops the padding of a collated batch; `forward(**pack_inputs(b))` equals `forward(**b)`.

        Args:
            batch: `input_ids` [B, T] and the other arguments of forward; best on the CPU, where it is checked too.

        Returns:
            `packed` in place of the padded inputs, and everything else as it was.

        Raises:
            ValueError: a token id, a position or a token type beyond its table, or shapes that do not fit.
        """
        if batch.get("input_ids") is None:
            raise ValueError(
                f"input_ids are missing: expected a batch with them, received {sorted(batch)}: "
                "tokenize the rows, or pass **tokenizer(text, return_tensors='pt')"
            )
        mask, types, positions = (batch.get(name) for name in _INPUTS[1:])
        if positions is None:
            positions = self.default_positions(batch["input_ids"])
        packed = pack(batch["input_ids"], mask, types, positions)
        check_ids(packed, self.config)
        return {**{name: value for name, value in batch.items() if name not in _INPUTS}, "packed": packed}

    def packed_inputs(
        self,
        input_ids: Tensor | None,
        attention_mask: Tensor | None,
        token_type_ids: Tensor | None,
        position_ids: Tensor | None,
        packed: PackedBatch | None,
        **labels: Tensor | None,
    ) -> tuple[PackedBatch, dict[str, Any]]:
        """The packed form of forward's arguments, packed now where it was not before, and the labels beside it."""
        if packed is not None:
            return packed, labels
        values = (input_ids, attention_mask, token_type_ids, position_ids)
        packs = self.pack_inputs({**dict(zip(_INPUTS, values, strict=True)), **labels})
        return packs.pop("packed"), packs

    # ---- parameters

    @property
    def base_model(self) -> PreTrainedModel:
        """The model without its head."""
        return getattr(self, self.base_model_prefix, self)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    def set_attn_implementation(self, attn_implementation: str | None) -> None:
        """Names how attention is computed: "sdpa", "eager", or None for the fastest.

        Raises:
            ValueError: a path that there is not (lists those there are).
        """
        if problem := attention_problem(attn_implementation):
            raise ValueError(f"{problem}: leave it out for the fastest here")
        self.config.attn_implementation = attn_implementation

    @property
    def dtype(self) -> torch.dtype:
        """The parameters' type."""
        return next(self.parameters()).dtype

    def num_parameters(self, only_trainable: bool = False) -> int:
        """Numbers that are trained; tied ones count once."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad or not only_trainable)

    def resize_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Embedding:
        """Gives the vocabulary as many rows as the tokenizer has tokens; new ones stand behind the old ones.

        Args:
            new_num_tokens: `len(tokenizer)`; None = as many as now. Fewer take rows off the end.
            pad_to_multiple_of: rounds up to a multiple, which some devices multiply faster.
            mean_resizing: draws new rows close around the mean of the old ones, so that a language model's other
                tokens keep their probabilities; False draws them like those of a fresh model.

        Returns:
            The embeddings. Projections to the vocabulary and `config.vocab_size` have changed with them; an optimizer
            that was made before is to be made again.
        """
        current = self.get_input_embeddings().num_embeddings
        size = new_size(current, new_num_tokens, pad_to_multiple_of)
        if size != current:
            resize(self, size, mean_resizing)
            self.config.vocab_size = size
        return self.get_input_embeddings()

    def tie_weights(self) -> None:
        """Makes aliases the very parameters that they are aliases of."""
        for alias, source in self.ties().items():
            module, _, name = alias.rpartition(".")
            setattr(self.get_submodule(module), name, self.get_parameter(source))

    def ties(self) -> dict[str, str]:
        """`tied_weights` where the configuration ties, without those that a checkpoint holds as two; else nothing."""
        tied = self.tied_weights if self.config.tie_word_embeddings else {}
        return {alias: source for alias, source in tied.items() if alias not in self.untied}

    def untie(self, alias: str) -> None:
        """Makes an alias a parameter of its own, of the same values."""
        module, _, name = alias.rpartition(".")
        parameter = self.get_parameter(alias)
        setattr(self.get_submodule(module), name, nn.Parameter(parameter.detach().clone()))
        self.untied.add(alias)

    @torch.no_grad()
    def init_weights(self, only: Collection[str] | None = None) -> None:
        """Draws initial values from torch's global generator, in the order of `transformers`.

        Args:
            only: names of the parameters that are drawn; None = all but those of an inner model, which has drawn its
                own.
        """
        for prefix, module in _children_first(self, "", inner=only is not None):
            own = {prefix + name: tensor for name, tensor in module.named_parameters(recurse=False)}
            if own and (only is None or any(name in only for name in own)):
                kept = {} if only is None else {name: own[name].clone() for name in own if name not in only}
                self.init_module(module)
                for name, values in kept.items():
                    own[name].copy_(values)

    # ---- memory

    supports_gradient_checkpointing: ClassVar[bool] = True

    def gradient_checkpointing_enable(
        self,
        gradient_checkpointing_kwargs: Mapping[str, Any] | None = None,
        every_n_layers: int = 1,
        offload: bool = False,
    ) -> None:
        """Computes the layers' activations again in the backward pass: see `running.recompute_layers`."""
        running.recompute_layers(self, gradient_checkpointing_kwargs, every_n_layers=every_n_layers, offload=offload)

    def activation_checkpointing_enable(
        self,
        activation_checkpointing_kwargs: Mapping[str, Any] | None = None,
        every_n_layers: int = 1,
        offload: bool = False,
    ) -> None:
        """The later name of `gradient_checkpointing_enable`."""
        self.gradient_checkpointing_enable(activation_checkpointing_kwargs, every_n_layers, offload)

    def gradient_checkpointing_disable(self) -> None:
        """Keeps the layers' activations for the backward pass."""
        running.keep_activations(self)

    @property
    def is_gradient_checkpointing(self) -> bool:
        """Whether the layers' activations are computed again."""
        return running.recomputes(self)

    # ---- loading and saving

    @classmethod
    def from_config(cls, config: PretrainedConfig, *, dtype: torch.dtype | str | None = None) -> Self:
        """A model with fresh weights, in training mode.

        Args:
            config: of the model.
            dtype: of the parameters; None = float32.
        """
        model = on_meta(cls, config)
        allocate(model, dtype_named(dtype))
        model.init_weights(model.state_dict())
        return model

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | os.PathLike[str],
        *,
        config: PretrainedConfig | None = None,
        dtype: torch.dtype | str | None = None,
        ignore_mismatched_sizes: bool = False,
        output_loading_info: bool = False,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool | None = None,
        **overrides: Any,
    ) -> Any:
        """Loads a model of this class, in evaluation mode; names and shapes are compared before anything is built.

        Args:
            name_or_folder: a folder with config.json and weights, or a name on the hub.
            config: replaces the folder's.
            dtype: of the parameters; None = float32 whatever the file holds, "auto" = what the file says.
            ignore_mismatched_sizes: draws parameters whose shapes differ in place of refusing.
            output_loading_info: also returns what did not fit.
            revision: branch, tag or commit on the hub.
            token: for private repositories.
            cache_dir: of the hub's files.
            local_files_only: True never asks the hub.
            overrides: settings of the configuration that replace the folder's, such as `num_labels`.

        Returns:
            The model, or (model, {"missing_keys", "unexpected_keys", "mismatched_keys"}) where it was asked for.

        Raises:
            FileNotFoundError: no such folder or name, or a file is missing in it.
            TypeError: an override that the configuration does not have.
            ValueError: weights that do not fit the configuration, or that belong to another model.
        """
        folder = fetch.resolve_folder(
            name_or_folder, revision=revision, token=token, cache_dir=cache_dir, local_files_only=local_files_only
        )
        dtype = overrides.pop("torch_dtype", dtype)  # its name in version 4
        if config is None:
            config = cls.config_class.from_dict(read_config(folder), **overrides)
        elif overrides:
            config = type(config).from_dict(config.to_dict(), **overrides)
        config.name_or_path = os.fspath(name_or_folder)
        model, report = load_model(cls, folder, config, dtype, ignore_mismatched_sizes)
        model.read_beside(folder)
        return (model, loading_info(report)) if output_loading_info else model

    def weights_to_save(self, state_dict: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """The model's tensors by their public names, tied ones once, as `transformers` writes them."""
        state = self.state_dict() if state_dict is None else state_dict
        return {name: tensor.detach() for name, tensor in state.items() if name not in self.ties()}

    def config_to_save(self) -> dict[str, Any]:
        """The content of config.json, with this class and the weights' type."""
        described = {"architectures": [type(self).__name__], "dtype": str(self.dtype).removeprefix("torch.")}
        return dict(sorted({**self.config.to_dict(), **described}.items()))

    def files_beside(self) -> dict[str, bytes]:
        """Further files of the model's folder: names to contents."""
        return {}

    def read_beside(self, folder: Path) -> None:
        """Takes what it needs of the further files of the folder that it was loaded from."""

    def save_pretrained(
        self, folder: str | os.PathLike[str], *, state_dict: Mapping[str, Tensor] | None = None
    ) -> None:
        """Writes config.json, model.safetensors and `files_beside`, each beside and renamed; other files stay.

        Args:
            folder: made where it is missing.
            state_dict: tensors to write in place of the model's own, such as those that a strategy gathered.
        """
        files.ensure_writable(folder)
        with files.update_folder(folder) as writer:
            writer.write_weights(self.weights_to_save(state_dict))
            writer.write_text("config.json", json.dumps(self.config_to_save(), indent=2) + "\n")
            for name, content in self.files_beside().items():
                writer.write_bytes(name, content)


def _children_first(module: nn.Module, prefix: str, inner: bool) -> Iterator[tuple[str, nn.Module]]:
    """(name with its dot, module) of all modules, each after its children; without inner models unless `inner`."""
    for name, child in module.named_children():
        if inner or not isinstance(child, PreTrainedModel):
            yield from _children_first(child, f"{prefix}{name}.", inner)
    yield prefix, module
