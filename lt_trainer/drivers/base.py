"""One process on one device: the driver that others refine."""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    import lightning.pytorch as pl
    from torch.optim import Optimizer

T = TypeVar("T")


class Driver:
    """What the step, the evaluation and the checkpoint need to know of a strategy.

    Args:
        trainer: a Lightning trainer whose strategy is set up.
    """

    def __init__(self, trainer: pl.Trainer) -> None:
        self.trainer = trainer

    @property
    def world_size(self) -> int:
        """Processes that share a batch."""
        return 1

    @property
    def rank(self) -> int:
        """This process among them."""
        return 0

    def alone(self) -> AbstractContextManager[Any]:
        """Wraps what one process does while the others wait: what would look for them must find none."""
        return nullcontext()

    def first(self, function: Callable[[], T]) -> T:
        """What `function` returns on the first process, on every process.

        Raises:
            Exception: what it raised, on the first process; RuntimeError with its text on the others.
        """
        found: tuple[T | None, str | None] = None, None
        error: Exception | None = None
        if self.rank == 0:
            try:
                with self.alone():
                    found = function(), None
            except Exception as raised:
                if self.world_size == 1:
                    raise
                error, found = raised, (None, repr(raised))
        result, message = self.gather(found)[0]
        if error is not None:
            raise error
        if message is not None:
            raise RuntimeError(f"the first process failed, and with it this one: {message}")
        return cast(T, result)

    def micro_batch(self, last: bool) -> AbstractContextManager[Any]:
        """Wraps forward and backward of a micro-batch; gradients are exchanged in the `last` of a step alone."""
        return nullcontext()

    def sum(self, value: torch.Tensor) -> torch.Tensor:
        """The sum of a tensor over all processes."""
        return value

    def gather(self, value: Any) -> list[Any]:
        """A picklable object of every process, in the order of ranks, on every process."""
        return [value]

    @property
    def forward_is_shared(self) -> bool:
        """Whether processes wait for each other in forward passes, so that a blank micro-batch needs one too."""
        return False

    @property
    def scales_loss(self) -> bool:
        """Whether an fp16 scaler sees to gradients that are not finite."""
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        return scaler is not None and bool(scaler.is_enabled())

    def norm_of_step(self) -> torch.Tensor:
        """The norm where `clip` gave none, after the step, 0-d."""
        raise AssertionError(f"{type(self).__name__} tells the norm before the step")

    def has_stepped(self) -> bool:
        """Whether the last step changed the weights, as far as the strategy knows."""
        return True

    def prepare(self, model: nn.Module) -> None:
        """Before the optimizer is made: a strategy that deals a model's weights out does it here."""

    def finish(self, model: nn.Module) -> None:
        """After the last step, on all processes: the model holds its weights as if it had been trained alone."""

    def whole(self, model: nn.Module) -> AbstractContextManager[Any]:
        """Inside it, process 0 finds the whole float32 weights in the model; all processes enter it together."""
        return nullcontext()

    def evaluating(self, model: nn.Module) -> AbstractContextManager[Any]:
        """Wraps an evaluation in the middle of training: processes may run different numbers of batches."""
        return nullcontext()

    def optimizer_state(self) -> dict[str, Any]:
        """The optimizer's state as one process would hold it, on process 0; all processes call it together."""
        return self.trainer.optimizers[0].state_dict()

    def load_optimizer(self, optimizer: Optimizer, state: dict[str, Any]) -> None:
        """Takes in what `optimizer_state` returned, here or on another number of processes."""
        optimizer.load_state_dict(state)

    def clip(self, parameters: Iterable[torch.nn.Parameter], max_norm: float) -> torch.Tensor | None:
        """Scales the gradients to at most `max_norm` (0: leaves them) and returns their norm before that, 0-d.

        None: the strategy does both in its step, see `norm_of_step`.
        """
        gradients = [self._own_part(p.grad) for p in parameters if p.grad is not None]
        norm = self._norm_of_all(torch.nn.utils.get_total_norm(gradients))
        if max_norm > 0 and not (
            norm.is_cpu and float(norm) + 1e-6 <= max_norm
        ):  # to ask a GPU would be to wait for it
            # clip_coef as in torch.nn.utils.clip_grads_with_norm_, whose input must be parameters
            coefficient = torch.clamp(max_norm / (norm + 1e-6), max=1.0)
            torch._foreach_mul_(gradients, coefficient)
        return norm

    def _own_part(self, gradient: torch.Tensor) -> torch.Tensor:
        """What this process holds of a gradient, which shares its memory."""
        return gradient

    def _norm_of_all(self, norm: torch.Tensor) -> torch.Tensor:
        """The norm of whole gradients from that of this process's parts."""
        return norm


@contextmanager
def standing_in(model: nn.Module, weights: Mapping[nn.Parameter, torch.Tensor]) -> Iterator[None]:
    """The model with other tensors in the place of its parameters; what several names share, they share still."""
    tensors = {p: nn.Parameter(weight, requires_grad=False) for p, weight in weights.items()}
    places = [(m, name, p) for m in model.modules() for name, p in m._parameters.items() if p is not None]
    try:
        for module, name, p in places:
            module._parameters[name] = tensors[p]
        yield
    finally:
        for module, name, p in places:
            module._parameters[name] = p


def hollow(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor of the same shape and type that holds one number."""
    return tensor.new_zeros(()).expand(tensor.shape)
