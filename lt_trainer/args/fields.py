"""`TrainingArguments`: one line a field with its meaning, which is also the command line's help and the docs' table."""

from __future__ import annotations

import copy
import json
import math
import os
import warnings
from dataclasses import MISSING, Field, dataclass, field, fields
from enum import Enum, EnumMeta
from typing import Any, Self, TypeVar

from lt_trainer.args import check
from lt_trainer.args.check import ConfigurationError
from lt_trainer.args.former import FORMER, Named
from lt_trainer.args.process import ProcessView
from lt_trainer.args.setters import Setters
from lt_trainer.names import LOGGERS, OPTIMIZERS, HubStrategy, IntervalStrategy, SaveStrategy, SchedulerType

T = TypeVar("T")
STEPS = "a whole number of steps, or a share between 0 and 1"
EXTRAS = ("inputs", "loss")
LOG_LEVELS = ("detail", "debug", "info", "warning", "error", "critical", "passive")
TOKENS = {"all": "all", "non_padding": "non_padding", "no": "no", True: "all", False: "no"}
TOKENS |= {"True": "all", "true": "all", "False": "no", "false": "no"}
DEBUG = ("underflow_overflow", "tpu_metrics_debug")
ON_NAN = ("stop", "skip", "ignore")
SAMPLING = ("random", "sequential", "group_by_length", "batch_rebalance")
BACKENDS = ("nccl", "gloo", "mpi", "xccl", "hccl", "cncl", "mccl")


def arg(default: Any, help: str, expects: Any = None, **options: Any) -> Any:
    """A field with its meaning and what it expects: a key of check.RANGES, or the values allowed."""
    made = {"default_factory": default} if default is list else {"default": default}
    return field(**made, metadata={"help": help, "expects": expects}, **options)


def default_of(f: Field[Any]) -> Any:
    """The default of a field, made anew where it is a list."""
    return f.default if f.default_factory is MISSING else f.default_factory()


def native(f: Field[Any], value: Any) -> Any:
    """A value that was read, as the arguments hold it: 10.0 steps -> 10, "epoch" -> IntervalStrategy.EPOCH."""
    expects = f.metadata.get("expects")
    if isinstance(expects, EnumMeta):
        return expects(value)
    if expects == STEPS and value is not None and value >= 1:
        return int(value)
    if expects is LOGGERS:
        return [name for name in (["tensorboard"] if value in (None, ["all"]) else value) if name != "none"]
    if expects is TOKENS:
        return TOKENS[value]
    return None if value == f"<{f.name.upper()}>" else value  # a secret that to_dict left out


def told(cls: type[T]) -> type[T]:
    """Writes the fields' meanings into the class's docstring."""
    listed = (f"    {f.name}: {f.metadata['help']}" for f in fields(cls) if "help" in f.metadata)  # type: ignore[arg-type]
    cls.__doc__ = f"{cls.__doc__}\n\nArgs:\n" + "\n".join(listed)
    return cls


@told
@dataclass(repr=False)
class TrainingArguments(Setters, ProcessView, metaclass=Named):
    """Everything about a training run, as plain data: checked when made, touching no device, environment or global.

    Names of former releases are taken too (args/former.py).
    """

    output_dir: str | None = arg(None, "folder for checkpoints and results; required")
    # duration and batches
    num_train_epochs: float = arg(3.0, "passes over the training data; fractions are exact to a step", "above 0")
    max_steps: int = arg(-1, "optimizer steps in all; overrides num_train_epochs where above 0", "-1, or 1 or more")
    per_device_train_batch_size: int = arg(8, "rows a device and micro-batch in training", "1 or more")
    per_device_eval_batch_size: int = arg(8, "rows a device and batch in evaluation", "1 or more")
    gradient_accumulation_steps: int = arg(1, "micro-batches a step, of rows x devices x this", "1 or more")
    auto_find_batch_size: bool = arg(False, "make the micro-batch smaller when memory runs out")
    torch_empty_cache_steps: int | None = arg(None, "steps between emptying the GPU's cache; None: never", "1 or more")
    # learning rate
    learning_rate: float = arg(5e-5, "peak of the schedule", "0 or more")
    lr_scheduler_type: str = arg("linear", "linear, cosine, constant, polynomial, inverse_sqrt, ...", SchedulerType)
    lr_scheduler_kwargs: dict[str, Any] | None = arg(None, "the schedule's own arguments")
    warmup_steps: float = arg(0, "steps of linear warm-up; below 1: share of all steps", "0 or more")
    warmup_ratio: float = arg(0.0, "share of all steps for warm-up, where warmup_steps is 0", "0 to 1")
    # optimizer
    optim: str = arg("adamw_torch_fused", "adamw_torch_fused, adamw_torch, sgd, adagrad, rmsprop, ...", OPTIMIZERS)
    optim_args: str | None = arg(None, "the optimizer's own arguments: name=value,name=value")
    optim_target_modules: str | list[str] | None = arg(None, "layers to project: parts of names, regex, all-linear")
    weight_decay: float = arg(0.0, "decay of all weights but biases and norms", "0 or more")
    adam_beta1: float = arg(0.9, "Adam's decay of the first moment", "0 to below 1")
    adam_beta2: float = arg(0.999, "Adam's decay of the second moment", "0 to below 1")
    adam_epsilon: float = arg(1e-8, "Adam's term against division by zero", "0 or more")
    max_grad_norm: float | None = arg(1.0, "clip the norm of all gradients to this; 0: off", "0 or more")
    label_smoothing_factor: float = arg(0.0, "share of each target spread over all classes", "0 to below 1")
    class_weights: list[float] | None = arg(None, "weight of each class in the mean loss; None: all 1", "0 or more")
    average_tokens_across_devices: bool = arg(True, "divide the loss by the targets of all devices; always so here")
    neftune_noise_alpha: float | None = arg(None, "size of the noise on embeddings in training", "0 or more")
    # precision, memory, compilation
    bf16: bool = arg(False, "bfloat16 mixed precision")
    fp16: bool = arg(False, "float16 mixed precision with a loss scaler; needs a GPU")
    fp16_opt_level: str = arg("O1", "what fp16 means: O0 float32, O1, O2 mixed, O3 float16", ("O0", "O1", "O2", "O3"))
    bf16_full_eval: bool = arg(False, "outside training, evaluate with bfloat16 weights; they are put back after")
    fp16_full_eval: bool = arg(False, "outside training, evaluate with float16 weights; they are put back after")
    tf32: bool | None = arg(None, "TF32 matrix products on GPUs; None: as torch is set")
    gradient_checkpointing: bool = arg(False, "compute activations again in the backward pass: less memory, more time")
    gradient_checkpointing_kwargs: dict[str, Any] | None = arg(None, "arguments of torch.utils.checkpoint")
    torch_compile: bool = arg(False, "compile the model; set by the two below")
    torch_compile_backend: str | None = arg(None, "backend of torch.compile; None: inductor")
    torch_compile_mode: str | None = arg(None, "mode of torch.compile")
    use_liger_kernel: bool = arg(False, "Liger's kernels")
    liger_kernel_config: dict[str, Any] | None = arg(None, "which of Liger's kernels")
    use_cache: bool = arg(False, "keep the keys and values of a forward pass while training")
    # evaluation
    eval_strategy: str = arg("no", "when to evaluate: no, steps or epoch", IntervalStrategy)
    eval_steps: float | None = arg(None, "steps between evaluations, or a share; None: as logging_steps", STEPS)
    eval_delay: float = arg(0, "epochs (strategy epoch) or steps before the first evaluation", "0 or more")
    eval_on_start: bool = arg(False, "evaluate once before the first step")
    eval_dry_run: bool = arg(True, "evaluate two batches before the first step: finds a misspelt metric")
    eval_accumulation_steps: int | None = arg(None, "batches of outputs kept on the device; None: 1", "1 or more")
    eval_do_concat_batches: bool = arg(True, "predictions as one array; False: a list with one a batch")
    eval_use_gather_object: bool = arg(False, "predictions of all devices travel as objects; here they always do")
    batch_eval_metrics: bool = arg(False, "call compute_metrics on each batch, with compute_result at the last")
    include_for_metrics: list[str] = arg(list, "what compute_metrics gets beside predictions: inputs, loss", EXTRAS)
    prediction_loss_only: bool = arg(False, "evaluate the loss alone, without predictions")
    load_best_model_at_end: bool = arg(False, "load the best model when training ends")
    metric_for_best_model: str | None = arg(None, "metric that decides, with or without eval_; None: the loss")
    greater_is_better: bool | None = arg(None, "whether more is better; None: unless the metric's name ends in loss")
    # logging
    logging_dir: str | None = arg(None, "folder of TensorBoard's events; None: {output_dir}/runs")
    logging_strategy: str = arg("steps", "when to log: no, steps or epoch", IntervalStrategy)
    logging_steps: float = arg(500, "steps between logs, or a share", STEPS)
    logging_first_step: bool = arg(False, "log the first step too")
    on_nan: str = arg(
        "stop", "gradients that are not finite: stop before they reach the weights, skip the step, or ignore", ON_NAN
    )
    logging_nan_inf_filter: bool = arg(True, "leave NaN and infinite losses out of the log, with on_nan=ignore")
    log_level: str = arg("passive", "level of the log on the main process; passive: as it is set", LOG_LEVELS)
    log_level_replica: str = arg("warning", "level of the log on all other processes", LOG_LEVELS)
    log_on_each_node: bool = arg(True, "one process of each machine logs; False: one of all")
    include_num_input_tokens_seen: str | bool = arg("no", "count input tokens: all, non_padding or no", TOKENS)
    skip_memory_metrics: bool = arg(True, "measure no memory; False adds it to the metrics of train and evaluate")
    debug: list[str] = arg(list, "underflow_overflow or tpu_metrics_debug", DEBUG)
    report_to: list[str] | None = arg(None, "loggers; None: tensorboard; none: off; all: those installed", LOGGERS)
    run_name: str | None = arg(None, "name of the run for loggers")
    project: str = arg("huggingface", "name of the project for Trackio")
    trackio_space_id: str | None = arg(None, "Trackio's space on the hub; None: local")
    trackio_bucket_id: str | None = arg(None, "bucket of that space")
    trackio_static_space_id: bool | str | None = arg(None, "public read-only space, made at the end; None: none")
    disable_tqdm: bool | None = arg(None, "show no progress bars")
    # saving
    save_strategy: str = arg("steps", "when to save a checkpoint: no, steps, epoch or best", SaveStrategy)
    save_steps: float = arg(500, "steps between checkpoints, or a share", STEPS)
    save_total_limit: int | None = arg(None, "newest checkpoints to keep, beside the best; None: all", "1 or more")
    save_only_model: bool = arg(False, "save weights without optimizer and random state: such a run cannot go on")
    save_on_each_node: bool = arg(False, "save on every machine; False: on the first")
    enable_jit_checkpoint: bool = arg(False, "save and leave when SIGTERM comes; always so here")
    restore_callback_states_from_checkpoint: bool = arg(
        False, "callbacks go on from the state that the checkpoint holds; always so here"
    )
    resume_from_checkpoint: str | None = arg(
        None, "checkpoint to go on from: its folder, or true for the newest that verifies"
    )
    ignore_data_skip: bool = arg(False, "when going on, begin with the first row again")
    # hub
    push_to_hub: bool = arg(False, "push the model to the hub")
    hub_model_id: str | None = arg(None, "name of the repository; None: the folder's name")
    hub_strategy: str = arg("every_save", "when to push: end, every_save, checkpoint, all_checkpoints", HubStrategy)
    hub_token: str | None = arg(None, "token for the hub; never written anywhere", compare=False)
    hub_private_repo: bool | None = arg(None, "whether the repository is private")
    hub_always_push: bool = arg(False, "push although the last push still runs")
    hub_revision: str | None = arg(None, "branch to push to")
    # data
    dataloader_drop_last: bool = arg(False, "leave out the last batch where it is short")
    dataloader_num_workers: int = arg(0, "processes that load data; 0: the main one", "0 or more")
    dataloader_pin_memory: bool = arg(True, "page-locked memory for the copy to a GPU")
    dataloader_persistent_workers: bool = arg(False, "keep workers between epochs")
    dataloader_prefetch_factor: int | None = arg(None, "batches that each worker loads ahead; None: 2", "1 or more")
    dataloader_multiprocessing_context: str | None = arg(
        None, "how workers start: fork, spawn or forkserver; None: torch's default", ("fork", "spawn", "forkserver")
    )
    dataloader_in_order: bool = arg(True, "batches in the order of the rows; False: as workers finish")
    remove_unused_columns: bool = arg(True, "drop columns that the model does not take")
    label_names: list[str] | None = arg(None, "columns that hold labels; None: by the model")
    train_sampling_strategy: str = arg(
        "random", "order of the training rows: random, sequential, group_by_length, batch_rebalance", SAMPLING
    )
    length_column_name: str = arg("length", "column with the rows' lengths, for group_by_length")
    # seeds and hardware
    seed: int = arg(42, "seed of everything random, set before the model is built", "0 to 2**32 - 1")
    data_seed: int | None = arg(None, "seed of the order of rows; None: seed", "0 to 2**32 - 1")
    full_determinism: bool = arg(False, "deterministic algorithms alone: the same numbers again, slower")
    use_cpu: bool = arg(False, "train on the CPU even where there is a GPU")
    devices: int | None = arg(None, "processes, one a device; None: all GPUs, or one on a CPU", "1 or more")
    local_rank: int = arg(-1, "for scripts: launchers pass it; the trainer reads the environment", "-1 or more")
    ddp_backend: str | None = arg(None, "how processes talk: nccl, gloo, ...; None: by device", BACKENDS)
    ddp_timeout: int = arg(1800, "seconds that processes wait for each other", "1 or more")
    ddp_find_unused_parameters: bool | None = arg(None, "DDP: parameters may stay without gradient; None: False")
    ddp_bucket_cap_mb: int | None = arg(None, "DDP: megabytes of gradients sent at a time; None: torch's", "1 or more")
    ddp_broadcast_buffers: bool | None = arg(None, "DDP: send buffers from process 0 before each forward; None: True")
    ddp_static_graph: bool | None = arg(None, "DDP: the graph is the same in every step")
    fsdp: bool | str | list[str] | None = arg(None, "shard the model over devices")
    fsdp_config: dict[str, Any] | str | None = arg(None, "how fsdp shards: a dict or a JSON file")
    deepspeed: dict[str, Any] | str | None = arg(None, "DeepSpeed configuration: a dict or a JSON file")
    accelerator_config: dict[str, Any] | str | None = arg(None, "settings of accelerate: a dict or a JSON file")
    parallelism_config: Any = arg(None, "accelerate's plan for several kinds of parallelism")
    # flags for scripts: the trainer does not read them
    do_train: bool = arg(False, "for scripts: train")
    do_eval: bool = arg(False, "for scripts: evaluate; set by eval_strategy")
    do_predict: bool = arg(False, "for scripts: predict")
    overwrite_output_dir: bool = arg(False, "for scripts: go on although output_dir holds something")

    def __post_init__(self) -> None:
        problems: list[str] = []
        stand_ins: dict[str, Any] = {}
        for f in fields(self):
            try:
                setattr(self, f.name, check.read(f.name, str(f.type), getattr(self, f.name)))
            except ConfigurationError as error:
                problems += error.problems
                stand_ins[f.name] = default_of(f)  # so that all else is checked too
        check.raise_if([*problems, *self.problems(**stand_ins)])
        self._derive()

    def problems(self, **instead: Any) -> list[str]:
        """What is wrong with the values as they are now, `instead` taking the place of some."""
        expected = {f.name: f.metadata["expects"] for f in fields(self) if f.metadata.get("expects")}
        return check.check(vars(self) | instead, expected)

    def sound(self) -> Self:
        """A copy with defaults for what is out of range, so that all else can be checked too."""
        copied = copy.copy(self)
        for f in fields(self):
            if check.check_value(f.name, getattr(self, f.name), f.metadata.get("expects")):
                setattr(copied, f.name, default_of(f))
        return copied

    def assign(self, **values: Any) -> Self:
        """Sets fields to values that are read and checked as on construction.

        Raises:
            ConfigurationError: values that cannot be read or are out of range, all of them.
        """
        known, problems = {f.name: f for f in fields(self)}, list[str]()
        for name, value in values.items():
            f = known[name]
            try:
                values[name] = check.read(name, str(f.type), value)
            except ConfigurationError as error:
                problems += error.problems
            else:
                problems += check.check_value(name, values[name], f.metadata.get("expects"))
        check.raise_if(problems)
        for name, value in values.items():
            setattr(self, name, native(known[name], value))
        return self

    def _derive(self) -> None:
        """Fills what follows from other fields, so that scripts can read it."""
        for f in fields(self):
            setattr(self, f.name, native(f, getattr(self, f.name)))
        if self.optim == "adamw_hf":
            warnings.warn("optim='adamw_hf' is gone: 'adamw_torch' is its equal", DeprecationWarning, stacklevel=5)
            self.optim = "adamw_torch"
        self.output_dir = os.path.expanduser(self.output_dir or "")
        self.logging_dir = self.logging_dir or f"{self.output_dir}/runs"
        self.disable_tqdm = bool(self.disable_tqdm)
        self.do_eval = self.do_eval or self.eval_strategy != "no"
        if self.eval_strategy == "steps" and self.eval_steps is None:
            self.eval_steps = self.logging_steps
        self.metric_for_best_model, self.greater_is_better = check.best_metric(self)
        if self.torch_compile_backend or self.torch_compile_mode or self.torch_compile:
            self.torch_compile, self.torch_compile_backend = True, self.torch_compile_backend or "inductor"

    @property
    def train_batch_size(self) -> int:
        """Rows a device and micro-batch in training."""
        return self.per_device_train_batch_size

    @property
    def eval_batch_size(self) -> int:
        """Rows a device and batch in evaluation."""
        return self.per_device_eval_batch_size

    def get_warmup_steps(self, num_training_steps: int) -> int:
        """Steps of warm-up in a run of `num_training_steps` optimizer steps."""
        if self.warmup_steps >= 1:
            return int(self.warmup_steps)
        return math.ceil(num_training_steps * (self.warmup_steps or self.warmup_ratio))

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain values, tokens masked; `TrainingArguments(**args.to_dict())` equals `args`."""
        values = {f.name: copy.deepcopy(getattr(self, f.name)) for f in fields(self) if f.init}
        plain = {name: value.value if isinstance(value, Enum) else value for name, value in values.items()}
        return plain | {name: f"<{name.upper()}>" for name in plain if check.is_secret(name) and plain[name]}

    def to_json_string(self) -> str:
        """`to_dict` as JSON."""
        return json.dumps(self.to_dict(), indent=2)

    def to_sanitized_dict(self) -> dict[str, bool | int | float | str]:
        """`to_dict` for loggers that take scalars and text alone."""
        values = {**self.to_dict(), "train_batch_size": self.train_batch_size, "eval_batch_size": self.eval_batch_size}
        return {name: v if isinstance(v, bool | int | float | str) else str(v) for name, v in values.items()}

    def __repr__(self) -> str:
        lines = "".join(f"{name}={value!r},\n" for name, value in sorted(self.to_dict().items()))
        return f"{type(self).__name__}(\n{lines})"


for name, row in FORMER.items():
    setattr(TrainingArguments, name, row)


@told
@dataclass(repr=False)
class Seq2SeqTrainingArguments(TrainingArguments):
    """Arguments of a run that evaluates by generating."""

    sortish_sampler: bool = arg(False, "rows of like length together, with some chance")
    predict_with_generate: bool = arg(False, "evaluate and predict what the model generates")
    generation_max_length: int | None = arg(None, "tokens of the longest row; None: by the model", "1 or more")
    generation_num_beams: int | None = arg(None, "beams of the search; None: by the model", "1 or more")
    generation_config: Any = arg(None, "settings of generation: a GenerationConfig, its dict, a folder or a name")

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain values."""
        values = super().to_dict()
        config = self.generation_config
        plain = config is None or isinstance(config, str | dict)
        return values | {"generation_config": config if plain else config.to_dict()}
