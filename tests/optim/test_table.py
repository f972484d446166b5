from __future__ import annotations

import sys
import types
from typing import Any

import pytest
import torch
from torch import nn

from lt_trainer.args.check import ConfigurationError
from lt_trainer.args.fields import TrainingArguments
from lt_trainer.args.hardware import Facts
from lt_trainer.args.plan import INSIDE_BACKWARD, Optimization, plan
from lt_trainer.names import OPTIMIZERS as PACKAGES
from lt_trainer.optim import OPTIMIZERS, create_optimizer, create_user_optimizer, optimizer_class, read_optim_args


def optimization(**arguments: Any) -> Optimization:
    return plan(TrainingArguments("out", **arguments), Facts(num_train_rows=80)).optimizer


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(3, 2)
        self.attention = nn.Linear(2, 2)
        self.norm = nn.LayerNorm(2)
        self.head = nn.Linear(2, 3)


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


def test_every_name_of_transformers_has_a_row_or_a_reason() -> None:
    names = {name.value for name in pytest.importorskip("transformers.training_args").OptimizerNames}
    assert names <= set(PACKAGES)
    refused = {name for name in PACKAGES if name.endswith(INSIDE_BACKWARD)}
    assert set(PACKAGES) - refused - {"adamw_hf", "adamw_apex_fused"} == set(OPTIMIZERS)


@pytest.mark.parametrize("name", ["lomo", "adalomo", "galore_adamw_layerwise", "apollo_adamw_layerwise"])
def test_optimizers_that_step_inside_the_backward_pass_are_refused_with_another(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"optim='{name}': not supported.*before gradients.*use 'adafactor'"):
        optimization(optim=name)


@pytest.mark.parametrize("name", [n for n in OPTIMIZERS if PACKAGES[n] != "torch"])
def test_a_missing_package_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, OPTIMIZERS[name].module, None)
    with pytest.raises(ImportError, match=f"optim='{name}' comes from the package {PACKAGES[name]}.*pip install"):
        optimizer_class(name)


@pytest.mark.parametrize("optim", ["sgd", "adagrad", "rmsprop", "adamw_torch", "adamw_torch_fused", "adafactor"])
def test_classes_and_arguments_are_those_of_transformers(optim: str) -> None:
    """But for optim_args, which it ignores where they are not sgd's, adagrad's or rmsprop's."""
    transformers = pytest.importorskip("transformers")
    args = {"learning_rate": 0.1, "adam_beta1": 0.8, "adam_epsilon": 1e-6, "weight_decay": 0.2}
    extra = {"sgd": "momentum=0.9,nesterov=true", "rmsprop": "alpha=0.5, centered=True", "adagrad": "lr_decay=0.1"}
    args |= {"optim": optim, "optim_args": extra.get(optim)}
    theirs = transformers.TrainingArguments("out", **args, report_to="none", use_cpu=True)
    cls, kwargs = transformers.Trainer.get_optimizer_cls_and_kwargs(theirs)
    weights = []
    for make in (lambda net: create_optimizer(net, optimization(**args)), lambda net: cls(net.parameters(), **kwargs)):
        torch.manual_seed(0)
        net = nn.Linear(3, 2, bias=False)  # one group: decay, which is not in their kwargs, is set on the group
        optimizer = make(net)
        optimizer.param_groups[0]["weight_decay"] = 0.2
        for step in range(4):
            optimizer.zero_grad()
            net(torch.arange(3.0) + step).square().sum().backward()
            optimizer.step()
        weights.append(net.weight)
    assert torch.equal(*weights)


class Fake(torch.optim.AdamW):
    """Stands for a class of a package that is not installed: takes what that one takes, and keeps it."""

    def __init__(self, params: Any, lr: float = 1.0, betas: Any = (0, 0), eps: float = 1.0, **own: Any) -> None:
        self.own = {"lr": lr, "betas": betas, "eps": eps, **own}
        super().__init__(params, lr=lr)


def signature_of(names: str) -> type[Fake]:
    """A Fake whose signature has these names beside lr."""
    parameters = ", ".join(f"{name}=None" for name in names.split())
    passed = ", ".join(f"{name}={name}" for name in names.split())
    scope: dict[str, Any] = {"Fake": Fake}
    body = f"class Made(Fake):\n  def __init__(self, params, lr, {parameters}): super().__init__(params, lr, {passed})"
    exec(body, scope)
    made: type[Fake] = scope["Made"]
    return made


BITS = "betas eps optim_bits is_paged"


@pytest.mark.parametrize(
    ("optim", "names", "optim_args", "expected"),
    [
        ("adamw_8bit", BITS, None, {"optim_bits": 8, "is_paged": False, "betas": (0.9, 0.999), "eps": 1e-8}),
        ("paged_adamw_32bit", BITS, None, {"optim_bits": 32, "is_paged": True}),
        ("lion_32bit", "betas optim_bits is_paged", None, {"optim_bits": 32, "betas": (0.9, 0.999)}),
        ("rmsprop_bnb_32bit", "alpha optim_bits", "alpha=0.5", {"optim_bits": 32, "alpha": 0.5}),
        ("ademamix", f"{BITS} alpha", "beta3=0.99,alpha=2", {"betas": (0.9, 0.999, 0.99), "alpha": 2}),
        ("adamw_torch_4bit", "betas eps block_size", "block_size=64", {"block_size": 64, "eps": 1e-8}),
        ("schedule_free_adamw", "betas eps weight_decay warmup_steps r", "r=1.0", {"warmup_steps": 3, "r": 1.0}),
        ("schedule_free_sgd", "weight_decay warmup_steps", None, {"weight_decay": 0.1, "warmup_steps": 3}),
        ("stable_adamw", "betas eps max_lr", "max_lr=0.5", {"max_lr": 0.5}),
        ("grokadamw", "betas eps lamb", "lamb=3.0", {"lamb": 3.0}),
    ],
)
def test_optimizers_of_other_packages_get_what_they_take(
    optim: str, names: str, optim_args: str | None, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = install(optim, names, monkeypatch)
    module.GlobalOptimManager = Manager()  # type: ignore[attr-defined]
    planned = optimization(optim=optim, optim_args=optim_args, warmup_steps=3, weight_decay=0.1)
    optimizer = create_optimizer(Net(), planned)
    assert isinstance(optimizer, Fake)
    assert expected.items() <= optimizer.own.items()
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]


def install(optim: str, names: str, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    recipe = OPTIMIZERS[optim]
    module = types.ModuleType(recipe.module)
    setattr(module, recipe.name, signature_of(names))
    monkeypatch.setitem(sys.modules, recipe.module.partition(".")[0], types.ModuleType("parent"))
    monkeypatch.setitem(sys.modules, recipe.module, module)
    return module


class Manager:
    def __init__(self) -> None:
        self.overridden: list[tuple[nn.Module, str, dict[str, int]]] = []

    def get_instance(self) -> Manager:
        return self

    def register_module_override(self, *what: Any) -> None:
        self.overridden.append(what)


def test_embeddings_keep_32_bits_of_state(monkeypatch: pytest.MonkeyPatch) -> None:
    manager = Manager()
    install("adamw_8bit", BITS, monkeypatch).GlobalOptimManager = manager  # type: ignore[attr-defined]
    net = Net()
    create_optimizer(net, optimization(optim="adamw_8bit"))
    assert manager.overridden == [(net.embed, "weight", {"optim_bits": 32})]


def test_target_modules_get_the_projection_and_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    install("galore_adamw", "betas eps", monkeypatch)
    planned = optimization(optim="galore_adamw", optim_target_modules=["atten"], optim_args="rank=4,proj_type=left")
    net = Net()
    others, targets = create_optimizer(net, planned).param_groups
    assert targets["params"] == [net.attention.weight]
    assert len(others["params"]) == len(list(net.parameters())) - 1
    assert "rank" not in others
    wanted = {"rank": 4, "update_proj_gap": 200, "scale": 0.25, "proj_type": "left"}
    assert wanted.items() <= targets.items()


@pytest.mark.parametrize(
    ("targets", "message"), [(None, "without optim_target_modules"), (["embed"], r"such as \['attention', 'head'\]")]
)
def test_target_modules_that_hit_nothing_are_refused(
    targets: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("apollo_adamw", "betas eps", monkeypatch)
    with pytest.raises(ConfigurationError, match=message):
        create_optimizer(Net(), optimization(optim="apollo_adamw", optim_target_modules=targets))


def test_all_linear_and_regular_expressions_name_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    install("apollo_adamw", "betas eps", monkeypatch)
    net = Net()
    for targets, expected in [("all-linear", [net.attention, net.head]), ("att.*", [net.attention])]:
        optimizer = create_optimizer(net, optimization(optim="apollo_adamw", optim_target_modules=targets))
        assert optimizer.param_groups[1]["params"] == [layer.weight for layer in expected]


def test_a_class_of_the_users_is_made_over_the_decay_groups() -> None:
    planned = optimization(weight_decay=0.3)
    optimizer = create_user_optimizer(Net(), torch.optim.SGD, {"lr": 0.5, "momentum": 0.9}, planned)
    assert [(g["lr"], g["momentum"], g["weight_decay"]) for g in optimizer.param_groups] == [
        (0.5, 0.9, 0.3),
        (0.5, 0.9, 0.0),
    ]


def test_parameters_among_the_users_arguments_replace_the_decay_groups() -> None:
    net = Net()
    optimizer = create_user_optimizer(net, torch.optim.SGD, {"lr": 0.5, "params": [net.head.bias]}, optimization())
    assert [group["params"] for group in optimizer.param_groups] == [[net.head.bias]]


def test_a_factory_of_the_users_is_given_the_model() -> None:
    class Factory:
        def __call__(self, model: nn.Module, lr: float) -> torch.optim.Optimizer:
            return torch.optim.Adagrad(model.parameters(), lr=lr)

    optimizer = create_user_optimizer(Net(), Factory, {"lr": 0.25}, optimization())
    assert (type(optimizer), optimizer.defaults["lr"]) == (torch.optim.Adagrad, 0.25)
