"""`fsdp` and `fsdp_config`, in every form that `transformers` takes: what FSDP2 does of it, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lt_trainer.args.check import SWITCHES, near
from lt_trainer.sharding.common import optimizer_problems, read_settings

if TYPE_CHECKING:
    from lt_trainer.args.fields import TrainingArguments

WORDS = {"full_shard": True, "shard_grad_op": False}  # whether weights are dealt out again after the forward pass
NO_WORDS = {
    "hybrid_shard": "take 'full_shard', which shards over all devices",
    "hybrid_shard_zero2": "take 'shard_grad_op', which shards over all devices",
    "no_shard": "leave fsdp out: several devices then run DDP",
    "offload": "leave it out; 'full_shard' over more devices, or activation_checkpointing, needs less memory on each",
}
POLICIES = ("TRANSFORMER_BASED_WRAP", "SIZE_BASED_WRAP", "NO_WRAP")
ONLY: dict[str, tuple[Any, str]] = {  # the one value that a key can have, and what to do about any other
    "version": (2, "FSDP2 is what runs here"),
    "state_dict_type": (
        "FULL_STATE_DICT",
        "checkpoints are normal model folders, which any number of devices reads",
    ),
    "cpu_ram_efficient_loading": (False, "each process loads the model before it is dealt out; leave it out"),
    "sync_module_states": (True, "all processes begin with the weights of the first; leave it out"),
    "cpu_offload": (False, NO_WORDS["offload"]),
    "offload_params": (False, NO_WORDS["offload"]),
    "use_orig_params": (True, "FSDP2 keeps the parameters as they are; leave it out"),
    "backward_prefetch": ("BACKWARD_PRE", "FSDP2 fetches the next layer's weights while one goes backward"),
    "forward_prefetch": (False, "FSDP2 fetches by itself; leave it out"),
    "limit_all_gathers": (True, "FSDP2 always does; leave it out"),
    "xla": (False, "there is no support for TPUs; leave it out"),
    "xla_fsdp_v2": (False, "there is no support for TPUs; leave it out"),
    "xla_fsdp_grad_ckpt": (False, "there is no support for TPUs; set activation_checkpointing"),
}
HINTS = {
    "mixed_precision": "set bf16=True",
    "mixed_precision_policy": "set bf16=True",
    "xla_fsdp_settings": "there is no support for TPUs; leave it out",
}
NAMES = {"transformer_cls_names_to_wrap": "transformer_layer_cls_to_wrap", "sharding_strategy": "reshard_after_forward"}
READ = ("transformer_layer_cls_to_wrap", "min_num_params", "auto_wrap_policy", "activation_checkpointing")


@dataclass(frozen=True)
class Sharding:
    """How a model is dealt out.

    Attributes:
        layers: names of the classes whose instances are fetched one at a time; None: those that the model knows itself.
        min_num_params: only such as hold as many weights.
        fetches_layers: False: the whole model is fetched at once.
        reshard: whether weights are given back after the forward pass and fetched again for the backward pass.
        recompute: whether activations are computed again in the backward pass.
    """

    layers: tuple[str, ...] | None = None
    min_num_params: int = 0
    fetches_layers: bool = True
    reshard: bool = True
    recompute: bool = False


def plan_fsdp(args: TrainingArguments) -> tuple[Sharding | None, list[str]]:
    """What the arguments ask for, None where they ask for nothing, and all that is wrong with it."""
    words = [args.fsdp] if isinstance(args.fsdp, bool) else _words(args.fsdp)
    if not any(words):
        return None, []
    problems = [problem for word in words if (problem := _problem_of(word))]
    config, found = _config(args.fsdp_config)
    problems += [*found, *_contradictions(args)]
    values: dict[str, Any] = {"reshard": next((WORDS[word] for word in words if word in WORDS), True)}
    for name, value in config.items():
        try:
            values |= _setting(name, value)
        except ValueError as error:
            problems.append(f"fsdp_config: {name}={value!r}: {error}")
    policy = str(config.get("auto_wrap_policy", "")).upper()
    if policy == "SIZE_BASED_WRAP" and not values.get("min_num_params"):
        problems.append("fsdp_config: auto_wrap_policy='SIZE_BASED_WRAP' without min_num_params: set both")
    return Sharding(**values), problems


def _words(given: Any) -> list[Any]:
    """The words of "full_shard auto_wrap", or of a list of them; text that says yes or no is a bool."""
    items = str(given or "").split() if not isinstance(given, list | tuple) else [str(item) for item in given]
    return [{"true": True, "false": False}.get(item.lower(), item) for item in items]


def _problem_of(word: Any) -> str | None:
    known = (*WORDS, *NO_WORDS, "auto_wrap")
    if word in NO_WORDS:
        return f"fsdp={word!r}: not supported; {NO_WORDS[word]}"
    if word in known or isinstance(word, bool):
        return None
    return f"fsdp={word!r}: expected True or one of 'full_shard', 'shard_grad_op', 'auto_wrap'{near(word, known)}"


def _config(given: Any) -> tuple[dict[str, Any], list[str]]:
    """The settings by their names of today, without a leading `fsdp_`."""
    settings, problems = read_settings("fsdp_config", given or None)
    names = [str(name).removeprefix("fsdp_") for name in settings]
    return {NAMES.get(n, n): value for n, value in zip(names, settings.values(), strict=True)}, problems


def _setting(name: str, value: Any) -> dict[str, Any]:
    """Fields of `Sharding` that a key sets.

    Raises:
        ValueError: what is wrong with it.
    """
    if name in ONLY:
        expected, hint = ONLY[name]
        same = _read_bool(value) == expected if isinstance(expected, bool) else str(value).upper() == str(expected)
        if not same:
            raise ValueError(f"expected {expected!r}: {hint}")
        return {}
    match name:
        case "transformer_layer_cls_to_wrap":
            names = value.split(",") if isinstance(value, str) else value or ()
            return {"layers": tuple(str(item).strip() for item in names if str(item).strip()) or None}
        case "min_num_params":
            return {"min_num_params": _read_count(value)}
        case "auto_wrap_policy":
            if str(value).upper() not in POLICIES:
                raise ValueError(f"expected one of {', '.join(POLICIES)}")
            return {"fetches_layers": str(value).upper() != "NO_WRAP"}
        case "activation_checkpointing":
            return {"recompute": _read_bool(value)}
        case "reshard_after_forward":
            word = str(value).lower()
            if word in NO_WORDS:
                raise ValueError(f"not supported; {NO_WORDS[word]}")
            return {"reshard": WORDS[word] if word in WORDS else _read_bool(value)}
    known = (*READ, *ONLY, *HINTS, "reshard_after_forward")
    raise ValueError(HINTS.get(name) or f"expected one of {', '.join(known)}{near(name, known)}")


def _read_bool(value: Any) -> bool:
    if str(value).lower() not in SWITCHES:
        raise ValueError("expected true or false")
    return SWITCHES[str(value).lower()]


def _read_count(value: Any) -> int:
    number = float(value)
    if number < 0 or number != int(number):
        raise ValueError("expected a whole number, 0 or more")
    return int(number)


def _contradictions(args: TrainingArguments) -> list[str]:
    found = []
    if args.fp16:
        found.append("fp16=True with fsdp: not supported, each process would scale its own loss; use bf16=True")
    if args.deepspeed:
        found.append("fsdp and deepspeed: expected one of them at most; leave one out")
    if args.torch_compile:
        found.append("torch_compile=True with fsdp: not supported; leave one of them out")
    return found + optimizer_problems(args, "fsdp")
