from __future__ import annotations

import json

import pytest

from lt_trainer.args.check import ConfigurationError
from lt_trainer.args.fields import TrainingArguments
from lt_trainer.args.hardware import Facts
from lt_trainer.args.plan import Plan, plan
from lt_trainer.sharding.fsdp import Sharding

FACTS = Facts(num_train_rows=100, world_size=2, local_world_size=2, launched=True)


def planned(facts: Facts = FACTS, **arguments: object) -> Plan:
    return plan(TrainingArguments("out", use_cpu=True, **arguments), facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (True, Sharding()),
        ("true", Sharding()),
        ("full_shard", Sharding()),
        ("full_shard auto_wrap", Sharding()),
        (["full_shard", "auto_wrap"], Sharding()),
        ("shard_grad_op auto_wrap", Sharding(reshard=False)),
        (None, None),
        (False, None),
        ("", None),
        ("false", None),
        ([], None),
    ],
)
def test_the_forms_of_fsdp(given: object, expected: Sharding | None) -> None:
    decided = planned(fsdp=given)
    assert decided.sharding == expected
    assert decided.hardware.strategy == ("ddp" if expected is None else "fsdp")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"transformer_layer_cls_to_wrap": ["BertLayer"]}, Sharding(layers=("BertLayer",))),
        ({"fsdp_transformer_layer_cls_to_wrap": "A, B"}, Sharding(layers=("A", "B"))),
        ({"transformer_cls_names_to_wrap": "A"}, Sharding(layers=("A",))),
        ({"min_num_params": 2000}, Sharding(min_num_params=2000)),
        ({"auto_wrap_policy": "NO_WRAP"}, Sharding(fetches_layers=False)),
        ({"auto_wrap_policy": "size_based_wrap", "min_num_params": "1e3"}, Sharding(min_num_params=1000)),
        ({"activation_checkpointing": "true"}, Sharding(recompute=True)),
        ({"reshard_after_forward": False}, Sharding(reshard=False)),
        ({"reshard_after_forward": "SHARD_GRAD_OP"}, Sharding(reshard=False)),
        ({"fsdp_version": 2, "fsdp_state_dict_type": "FULL_STATE_DICT", "cpu_offload": "false"}, Sharding()),
        ({"cpu_ram_efficient_loading": False, "sync_module_states": True, "use_orig_params": True}, Sharding()),
        ({"backward_prefetch": "backward_pre", "forward_prefetch": False, "limit_all_gathers": True}, Sharding()),
        ({"xla": False}, Sharding()),
    ],
)
def test_the_settings_of_fsdp_config(config: dict[str, object], expected: Sharding) -> None:
    assert planned(fsdp=True, fsdp_config=config).sharding == expected


def test_fsdp_config_may_be_a_file(tmp_path) -> None:
    file = tmp_path / "fsdp.json"
    file.write_text(json.dumps({"fsdp_min_num_params": 5}))
    assert planned(fsdp=True, fsdp_config=str(file)).sharding == Sharding(min_num_params=5)
    with pytest.raises(ConfigurationError, match=r"no\.json.*found no such file.*did you mean 'fsdp\.json'"):
        planned(fsdp=True, fsdp_config=str(tmp_path / "no.json"))


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("version", 1, "expected 2: FSDP2"),
        ("state_dict_type", "SHARDED_STATE_DICT", "expected 'FULL_STATE_DICT'"),
        ("cpu_ram_efficient_loading", True, "expected False"),
        ("sync_module_states", False, "expected True"),
        ("cpu_offload", True, "expected False"),
        ("use_orig_params", False, "expected True"),
        ("backward_prefetch", "BACKWARD_POST", "expected 'BACKWARD_PRE'"),
        ("forward_prefetch", "true", "expected False"),
        ("limit_all_gathers", False, "expected True"),
        ("xla", True, "no support for TPUs"),
        ("xla_fsdp_settings", {"compute_dtype": "bfloat16"}, "no support for TPUs"),
        ("mixed_precision_policy", "bf16", "set bf16=True"),
        ("auto_wrap_policy", "MINE", "expected one of TRANSFORMER_BASED_WRAP"),
        ("min_num_params", -1, "expected a whole number"),
        ("activation_checkpointing", "perhaps", "expected true or false"),
        ("reshard_after_forward", "HYBRID_SHARD", "not supported; take 'full_shard'"),
        ("min_num_param", 5, "did you mean 'min_num_params'"),
    ],
)
def test_what_a_setting_cannot_be_is_refused_by_name(name: str, value: object, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        planned(fsdp=True, fsdp_config={name: value})
    [problem] = caught.value.problems
    assert problem.startswith(f"fsdp_config: {name}={value!r}: ")
    assert says in problem


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"fsdp": "hybrid_shard"}, "fsdp='hybrid_shard': not supported; take 'full_shard'"),
        ({"fsdp": "full_shard offload"}, "fsdp='offload': not supported"),
        ({"fsdp": "no_shard"}, "fsdp='no_shard': not supported; leave fsdp out"),
        ({"fsdp": "ful_shard"}, "did you mean 'full_shard'"),
        ({"fsdp": True, "fp16": True, "fp16_opt_level": "O0"}, "fp16=True with fsdp"),
        ({"fsdp": True, "optim": "adafactor"}, "optim='adafactor' with fsdp"),
        ({"fsdp": True, "torch_compile": True}, "torch_compile=True with fsdp"),
        ({"fsdp": True, "fsdp_config": {"auto_wrap_policy": "SIZE_BASED_WRAP"}}, "without min_num_params"),
    ],
)
def test_what_does_not_go_with_fsdp_is_refused(arguments: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        planned(**arguments)
    assert says in str(caught.value)
