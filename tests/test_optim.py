from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest
import torch
from torch import nn

from lt_trainer.args.check import ConfigurationError
from lt_trainer.args.fields import TrainingArguments
from lt_trainer.args.hardware import Facts
from lt_trainer.args.plan import Optimization, plan
from lt_trainer.optim import SCHEDULES, create_optimizer, create_scheduler, decay_groups, read_optim_args, schedule


def optimization(**arguments: Any) -> Optimization:
    return plan(TrainingArguments("out", **arguments), Facts(num_train_rows=80)).optimizer


class T5LayerNorm(nn.Module):
    """A norm that no class of torch is a base of, under a name that tells nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(3, 2)
        self.ln_1 = nn.LayerNorm(2)
        self.root = T5LayerNorm()
        self.frozen = nn.Linear(2, 2).requires_grad_(False)
        self.final_norm = nn.ModuleDict({"scale": nn.Linear(2, 2, bias=False)})
        self.attention = nn.Linear(2, 2)
        self.normal = nn.Linear(2, 2, bias=False)  # no norm, though its name begins like one
        self.head = nn.Linear(2, 3)
        self.head.weight = self.embed.weight  # tied


def names_of(model: nn.Module) -> list[list[str]]:
    names = {id(p): n for n, p in model.named_parameters()}
    return [[names[id(p)] for p in group["params"]] for group in decay_groups(model, 0.1)]


def test_biases_and_norms_do_not_decay_and_tied_weights_come_once() -> None:
    decays, stays = names_of(Net())
    assert decays == ["embed.weight", "attention.weight", "normal.weight"]
    assert stays == [
        *("ln_1.weight", "ln_1.bias", "root.weight", "final_norm.scale.weight", "attention.bias", "head.bias"),
    ]


def test_groups_have_the_decay_that_was_asked_for() -> None:
    assert [group["weight_decay"] for group in decay_groups(Net(), 0.1)] == [0.1, 0.0]


def test_a_model_without_anything_to_train_is_refused() -> None:
    with pytest.raises(ValueError, match="no parameter to train"):
        decay_groups(nn.Linear(2, 2).requires_grad_(False), 0.0)


@pytest.mark.parametrize("family", ["Bert", "GPT2", "T5", "Llama"])
def test_groups_equal_those_of_transformers(family: str) -> None:
    transformers = pytest.importorskip("transformers")
    sizes: dict[str, Any] = {
        "Bert": {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8},
        "GPT2": {"n_embd": 8, "n_layer": 1, "n_head": 2},
        "T5": {"d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2},
        "Llama": {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8},
    }[family]
    model = getattr(transformers, f"{family}Model")(getattr(transformers, f"{family}Config")(vocab_size=10, **sizes))
    decays = transformers.Trainer.get_decay_parameter_names(None, model)
    names = [name for name, _ in model.named_parameters()]
    assert names_of(model) == [[n for n in names if n in decays], [n for n in names if n not in decays]]


@pytest.mark.parametrize(
    ("name", "cls"),
    [
        ("adamw_torch", torch.optim.AdamW),
        ("adamw_torch_fused", torch.optim.AdamW),
        ("sgd", torch.optim.SGD),
        ("adagrad", torch.optim.Adagrad),
        ("rmsprop", torch.optim.RMSprop),
    ],
)
def test_each_optimizer_steps_with_its_learning_rate(name: str, cls: type[torch.optim.Optimizer]) -> None:
    model = Net()
    optimizer = create_optimizer(model, optimization(optim=name, learning_rate=0.1))
    assert type(optimizer) is cls
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.1]
    before = model.attention.weight.clone()
    model.attention(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert not torch.equal(model.attention.weight, before)


def test_adam_gets_its_betas_and_epsilon() -> None:
    planned = optimization(adam_beta1=0.8, adam_beta2=0.9, adam_epsilon=1e-6)
    optimizer = create_optimizer(Net(), planned)
    assert (optimizer.defaults["betas"], optimizer.defaults["eps"]) == ((0.8, 0.9), 1e-6)
    assert optimizer.defaults["fused"] is True


def test_optim_args_reach_the_optimizer() -> None:
    optimizer = create_optimizer(Net(), optimization(optim="sgd", optim_args="momentum=0.9, nesterov=true"))
    assert (optimizer.defaults["momentum"], optimizer.defaults["nesterov"]) == (0.9, True)


def test_optim_args_that_the_optimizer_does_not_take_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"sgd takes no 'momentun'; did you mean 'momentum'\?"):
        create_optimizer(Net(), optimization(optim="sgd", optim_args="momentun=0.9"))


def test_optim_args_are_read_as_numbers_switches_and_words() -> None:
    assert read_optim_args("a=1, b=0.5,c=true,d=word,e=None") == {"a": 1, "b": 0.5, "c": True, "d": "word", "e": None}
    assert read_optim_args(None) == {}
    with pytest.raises(ConfigurationError, match="received 'momentum'"):
        read_optim_args("momentum")


def test_linear_schedule_by_hand() -> None:
    factor = schedule("linear", 2, 6, learning_rate=1.0, kwargs={})
    assert [factor(step) for step in range(8)] == [0.0, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]


CASES = [
    ("linear", {}),
    ("cosine", {}),
    ("cosine", {"num_cycles": 1.5}),
    ("cosine_with_restarts", {}),
    ("cosine_with_restarts", {"num_cycles": 3}),
    ("polynomial", {}),
    ("polynomial", {"power": 2.0, "lr_end": 1e-5}),
    ("constant", {}),
    ("constant_with_warmup", {}),
    ("inverse_sqrt", {}),
    ("inverse_sqrt", {"timescale": 7}),
    ("cosine_with_min_lr", {"min_lr": 1e-5}),
    ("cosine_with_min_lr", {"min_lr_rate": 0.1, "num_cycles": 1.0}),
    ("cosine_warmup_with_min_lr", {"min_lr": 1e-5}),
    ("cosine_warmup_with_min_lr", {"min_lr_rate": 0.1, "warmup_lr_rate": 0.2}),
    ("warmup_stable_decay", {"num_decay_steps": 4}),
    ("warmup_stable_decay", {"num_decay_steps": 4, "min_lr_ratio": 0.1, "num_cycles": 1.0}),
    *(
        ("warmup_stable_decay", {"num_decay_steps": 4, "warmup_type": up, "decay_type": down})
        for up, down in itertools.product(("linear", "cosine", "1-sqrt"), repeat=2)
    ),
]


def rates(scheduler: Any, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
    found = [optimizer.param_groups[0]["lr"]]
    for _ in range(steps):
        optimizer.step()
        scheduler.step()
        found.append(optimizer.param_groups[0]["lr"])
    return found


@pytest.mark.parametrize(("name", "kwargs"), CASES)
def test_every_rate_equals_that_of_transformers(name: str, kwargs: dict[str, Any]) -> None:
    get_scheduler = pytest.importorskip("transformers").get_scheduler
    for warmup, total in [(0, 10), (3, 10), (5, 17), (1, 1)]:
        if name == "polynomial" and warmup >= total:
            continue  # a division by zero there
        steps = total if name == "polynomial" else total + 3
        ours, theirs = (torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1e-3) for _ in range(2))
        planned = dataclasses.replace(
            optimization(), scheduler=name, scheduler_kwargs=kwargs, warmup_steps=warmup, total_steps=total
        )
        found = rates(create_scheduler(ours, planned), ours, steps)
        expected = rates(get_scheduler(name, theirs, warmup, total, kwargs), theirs, steps)
        assert found == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_every_schedule_is_compared() -> None:
    assert {name for name, _ in CASES} == set(SCHEDULES)


def test_the_last_step_of_all_warmup_is_no_division_by_zero() -> None:
    factor = schedule("polynomial", 4, 4, learning_rate=1.0, kwargs={})
    assert factor(3) == 0.75
    assert factor(4) == 1.0


def test_given_total_replaces_the_plans() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0)
    assert rates(create_scheduler(optimizer, optimization(), 2), optimizer, 2) == [1.0, 0.5, 0.0]


def test_a_schedule_can_be_saved_and_loaded() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0)
    scheduler = create_scheduler(optimizer, optimization())
    rates(scheduler, optimizer, 3)
    again = create_scheduler(torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0), optimization())
    again.load_state_dict(scheduler.state_dict())
    assert again.get_last_lr() == scheduler.get_last_lr()


@pytest.mark.parametrize(
    ("name", "kwargs", "message"),
    [
        ("cosine", {"num_cycle": 1}, "cosine takes no 'num_cycle'; did you mean 'num_cycles'?"),
        ("constant", {"min_lr": 1}, "constant takes no 'min_lr'"),
        ("warmup_stable_decay", {}, "warmup_stable_decay needs 'num_decay_steps'"),
        ("warmup_stable_decay", {"num_decay_steps": 1, "decay_type": "sqrt"}, "decay_type='sqrt': expected one of"),
        ("cosine_with_min_lr", {}, "expected one of min_lr=None and min_lr_rate=None"),
        ("cosine_with_min_lr", {"min_lr": 1e-6, "min_lr_rate": 0.1}, "expected one of min_lr=1e-06"),
        ("polynomial", {"lr_end": 1.0}, "lr_end=1.0: expected less than learning_rate"),
    ],
)
def test_arguments_of_a_schedule_that_make_no_sense_are_refused(name: str, kwargs: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message.replace("?", r"\?")):
        schedule(name, 1, 10, learning_rate=1e-3, kwargs=kwargs)
