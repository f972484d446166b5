"""The names that arguments take: strategies, schedules, optimizers, loggers. No torch."""

from __future__ import annotations

from enum import StrEnum


class IntervalStrategy(StrEnum):
    """When something happens during training. Members equal their strings."""

    NO = "no"
    STEPS = "steps"
    EPOCH = "epoch"


class SaveStrategy(StrEnum):
    """When a checkpoint is written; `best` means at each evaluation that is better than all before it."""

    NO = "no"
    STEPS = "steps"
    EPOCH = "epoch"
    BEST = "best"


class SchedulerType(StrEnum):
    """Schedules of the learning rate."""

    LINEAR = "linear"
    COSINE = "cosine"
    COSINE_WITH_RESTARTS = "cosine_with_restarts"
    POLYNOMIAL = "polynomial"
    CONSTANT = "constant"
    CONSTANT_WITH_WARMUP = "constant_with_warmup"
    INVERSE_SQRT = "inverse_sqrt"
    REDUCE_ON_PLATEAU = "reduce_lr_on_plateau"
    COSINE_WITH_MIN_LR = "cosine_with_min_lr"
    COSINE_WARMUP_WITH_MIN_LR = "cosine_warmup_with_min_lr"
    WARMUP_STABLE_DECAY = "warmup_stable_decay"
    GREEDY = "greedy"


class HubStrategy(StrEnum):
    """What is pushed to the hub, and when."""

    END = "end"
    EVERY_SAVE = "every_save"
    CHECKPOINT = "checkpoint"
    ALL_CHECKPOINTS = "all_checkpoints"


WATCHERS = ("reduce_lr_on_plateau", "greedy")  # schedules that follow the evaluation
SCHEDULERS = tuple(str(name) for name in SchedulerType)
PACKAGES = {  # optimizers by the package that brings them
    "torch": (
        *("adamw_torch", "adamw_torch_fused", "adamw_hf", "adamw_apex_fused", "adafactor"),
        *("sgd", "adagrad", "rmsprop"),
    ),
    "bitsandbytes": (
        *("adamw_bnb_8bit", "adamw_8bit", "paged_adamw_32bit", "paged_adamw_8bit"),
        *("lion_32bit", "lion_8bit", "paged_lion_32bit", "paged_lion_8bit"),
        *("ademamix", "ademamix_8bit", "paged_ademamix_32bit", "paged_ademamix_8bit"),
        *("rmsprop_bnb", "rmsprop_bnb_8bit", "rmsprop_bnb_32bit"),
    ),
    "torchao": ("adamw_torch_4bit", "adamw_torch_8bit"),
    "galore_torch": (
        *("galore_adamw", "galore_adamw_8bit", "galore_adafactor"),
        *("galore_adamw_layerwise", "galore_adamw_8bit_layerwise", "galore_adafactor_layerwise"),
    ),
    "apollo_torch": ("apollo_adamw", "apollo_adamw_layerwise"),
    "schedulefree": ("schedule_free_adamw", "schedule_free_radam", "schedule_free_sgd"),
    "grokadamw": ("grokadamw",),
    "torch-optimi": ("stable_adamw",),
    "lomo_optim": ("lomo", "adalomo"),
    "torchdistx": ("adamw_anyprecision",),
    "torch_xla": ("adamw_torch_xla",),
    "torch_npu": ("adamw_torch_npu_fused",),
}
OPTIMIZERS = {name: package for package, names in PACKAGES.items() for name in names}
LOGGERS = ("tensorboard", "wandb", "mlflow", "comet_ml", "trackio", "csv", "all", "none")
