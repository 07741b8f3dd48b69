"""One call of a module in JAX: parameters and buffers in, results and buffers out."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax

from ._batch_norm import LOWERINGS as BATCH_NORM
from ._convolution import LOWERINGS as CONVOLUTION
from ._environment import Environment
from ._packages import torch, torchax
from ._patches import patched
from ._recurrent import LOWERINGS as RECURRENT
from ._shared_memory import Refused, is_ours, is_plain

# What JAX raises where a number must be known while it traces.
_UNKNOWN = (
    jax.errors.ConcretizationTypeError,
    jax.errors.NonConcreteBooleanIndexError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerBoolConversionError,
    jax.errors.TracerIntegerConversionError,
)
# What people write, for an operation that has another name.
_KNOWN_AS = {"aten::_local_scalar_dense": "torch.Tensor.item"}
_NO_LOWERING = (torchax.tensor.OperatorNotFound, AssertionError, NotImplementedError)

Arrays = Mapping[str, jax.Array]
ENVIRONMENT = Environment({**BATCH_NORM, **CONVOLUTION, **RECURRENT})


class _Called(torch.nn.Module):
    """A function of a module, as the forward of a module: what torch reparametrises."""

    def __init__(self, module: Any, function: Callable[..., Any]) -> None:
        super().__init__()
        self.module, self.function = module, function

    def forward(self, *args: Any, **keywords: Any) -> Any:
        return self.function(self.module, *args, **keywords)


def run(
    module: Any,
    function: Callable[..., Any],
    params: Arrays,
    buffers: Arrays,
    key: jax.Array,
    args: tuple[Any, ...],
    keywords: Mapping[str, Any],
    modes: Mapping[str, bool],
) -> tuple[Any, dict[str, jax.Array]]:
    """The result of `function(module, *args)` and the new buffers.

    Args:
      module: the module, which is left as it was.
      function: a function in torch.
      params: what stands for its parameters, by name.
      buffers: what stands for its buffers, and for parameters that are not learned.
      key: of random numbers.
      args: the arguments of the function after the module: pytrees of arrays.
      keywords: its keyword arguments.
      modes: by module, whether it is in training.
    """
    env = ENVIRONMENT
    given = env.j2t_iso({f"module.{k}": v for k, v in {**params, **buffers}.items()})
    with (
        patched(),
        _modes(module, modes),
        _unchanged(module, given),
        torch.enable_grad(),
        env.override_property(prng=key),
        warnings.catch_warnings(),
        _told(module),
        env,
    ):
        # torch's integers have 64 bits; those that do not fit are an error of JAX.
        asked = "Explicitly requested dtype u?int64"
        warnings.filterwarnings("ignore", asked, UserWarning)
        tensors, named = jax.tree.map(_tensor, (args, dict(keywords)))
        call = _Called(module, function)
        found = torch.func.functional_call(call, given, tensors, named, strict=False)
        return _arrays(found), {k: _arrays(given[f"module.{k}"]) for k in buffers}


def _tensor(leaf: Any) -> Any:
    """An array as a tensor; other leaves are left as they are."""
    return ENVIRONMENT.j2t_iso(leaf) if isinstance(leaf, jax.Array) else leaf


def _arrays(tree: Any) -> Any:
    """A result with arrays for tensors, dictionaries for mappings and dataclasses."""
    if is_ours(tree):
        return tree.jax()
    if is_plain(tree):
        raise Refused(
            f"a result of shape {tuple(tree.shape)} was computed by torch itself, from "
            "no argument: JAX would take it for a constant."
        )
    if isinstance(tree, Mapping):
        return {name: _arrays(value) for name, value in tree.items()}
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        fields = (field.name for field in dataclasses.fields(tree))
        return {name: _arrays(getattr(tree, name)) for name in fields}
    if isinstance(tree, list | tuple):
        return tuple(_arrays(value) for value in tree)
    return tree


@contextlib.contextmanager
def _modes(module: Any, modes: Mapping[str, bool]) -> Iterator[None]:
    """Training or evaluation, module by module; put back afterwards."""
    before = {each: each.training for each in module.modules()}
    for name, each in module.named_modules():
        each.training = modes[name]
    try:
        yield
    finally:
        for each, training in before.items():
            each.training = training


@contextlib.contextmanager
def _unchanged(module: Any, given: Mapping[str, Any]) -> Iterator[None]:
    """Refuse tensors that are kept in attributes: the next call would not see them.

    Attributes are put back. Those that hold nothing but parameters and buffers (the
    flat weights of recurrent layers) may have changed.
    """
    before = {name: dict(vars(each)) for name, each in module.named_modules()}
    try:
        yield
        may = set(map(id, given.values()))
        kept = [
            f"{name}.{attribute}".removeprefix(".")
            for name, each in module.named_modules()
            for attribute, value in vars(each).items()
            if value is not before[name].get(attribute)
            and not set(map(id, _tensors(value))) <= may
        ]
    finally:
        for name, each in module.named_modules():
            vars(each).clear()
            vars(each).update(before[name])
    if kept:
        raise Refused(
            f"the module keeps a tensor in its attribute {kept[0]}, which the next "
            "call would not see. Register it as a buffer, or return it and take it as "
            "an argument."
        )


def _tensors(value: Any) -> Iterator[Any]:
    """The tensors of torchax in an attribute."""
    if is_ours(value):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _tensors(each)


@contextlib.contextmanager
def _told(module: Any) -> Iterator[None]:
    """Errors with the operation of torch and the module that failed."""
    try:
        yield
    except Exception as error:
        operation = getattr(error, "torch_operation", "")
        operation = _KNOWN_AS.get(operation, operation)
        where = _where(module, error)
        what = f"the operation {operation} of torch{where}" if operation else ""
        if isinstance(error, Refused) or not operation:
            if where:
                error.add_note(f"It happened{where}.")
            raise
        if isinstance(error, _UNKNOWN):
            raise Refused(
                f"{what} needs numbers that are not known while JAX traces, such as a "
                "size or a condition that depends on the data: write it with fixed "
                "shapes and torch.where."
            ) from error
        if isinstance(error, _NO_LOWERING):
            raise Refused(
                f"torchax does not support {what} ({type(error).__name__}: {error}). "
                "Write it in other operations."
            ) from error
        error.add_note(f"It came from {what}.")
        raise


def _where(module: Any, error: BaseException) -> str:
    """The innermost submodule whose code was running."""
    names = {id(each): name for name, each in module.named_modules()}
    found, frame = "", error.__traceback__
    while frame is not None:
        owner = frame.tb_frame.f_locals.get("self")
        if names.get(id(owner)):
            found = f" in {names[id(owner)]} ({type(owner).__name__})"
        frame = frame.tb_next
    return found
