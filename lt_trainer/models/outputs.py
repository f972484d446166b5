"""What a model returns: attributes, keys and indices, with values that are computed when they are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.utils import _pytree as pytree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_OPTIONAL = frozenset({"loss", "logits", "hidden_states", "attentions", "past_key_values"})  # None where absent


class _Lazy:
    """A value that nobody has read yet."""

    def __init__(self, compute: Callable[[], Any]) -> None:
        self.compute = compute


class ModelOutput(dict[str, Any]):
    """The outputs of a model in order, read as `out.loss`, `out["loss"]`, `out[0]` or `out[:2]`.

    A value that is None is left out, so `out[0]` is the loss if there is one and the logits otherwise. A value given in
    `lazy` is a function; it is called when the value is first read, with gradients if they are on at that moment.
    """

    def __init__(
        self, values: Mapping[str, Any] | None = None, *, lazy: Mapping[str, Callable[[], Any]] | None = None
    ) -> None:
        super().__init__({name: value for name, value in (values or {}).items() if value is not None})
        super().update({name: _Lazy(compute) for name, compute in (lazy or {}).items()})

    def __getitem__(self, key: Any) -> Any:
        if not isinstance(key, str):
            return self.to_tuple()[key]
        value = super().__getitem__(key)
        if isinstance(value, _Lazy):
            value = value.compute()
            super().__setitem__(key, value)
        return value

    def __getattr__(self, name: str) -> Any:
        if name in self.keys():
            return self[name]
        if name in _OPTIONAL:
            return None
        hint = ": pass labels to the model" if name == "loss" else ""
        raise AttributeError(f"this output has {list(self)}, and no {name!r}{hint}")

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __iter__(self) -> Iterator[str]:  # overridden so that dict(out) and **out go through __getitem__
        return super().__iter__()

    def get(self, key: str, default: Any = None) -> Any:
        """The value of `key`, or `default` where it is absent."""
        return self[key] if key in self.keys() else default

    def values(self) -> list[Any]:  # type: ignore[override]
        """All values; computes the ones that nobody has read yet."""
        return [self[name] for name in self]

    def items(self) -> list[tuple[str, Any]]:  # type: ignore[override]
        """All (name, value) pairs; computes the values that nobody has read yet."""
        return [(name, self[name]) for name in self]

    def to_tuple(self) -> tuple[Any, ...]:
        """All values, in order."""
        return tuple(self.values())

    def __reduce__(self) -> Any:
        return ModelOutput, (dict(self.items()),)  # a function in a lazy value would not pickle


def _flatten(output: ModelOutput) -> tuple[list[Any], list[str]]:
    return [dict.__getitem__(output, name) for name in output], list(output)


def _unflatten(values: Any, names: Any) -> ModelOutput:
    output = ModelOutput()
    dict.update(output, zip(names, values, strict=True))
    return output


# FSDP2 finds the tensors on which it hangs its backward hooks through this registry; lazy values pass through unread.
pytree.register_pytree_node(ModelOutput, _flatten, _unflatten, serialized_type_name="lt_trainer.ModelOutput")
