"""From a list of layers to a graph of NIR."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._packages import imported
from ._layer import Layer, Shape, array_fields, name_of
from ._neurons import Neurons
from ._recurrent import Recurrent
from ._run import layer_shapes
from ._structural import Delay, Flatten, Pool
from ._weights import Convolution, Scale


def nir_package() -> Any:
    """The package nir.

    Raises:
      ImportError: where it is not installed, with the way to install it.
    """
    return imported("nir", "nir", "to read and write graphs")


def to_graph(layers: Sequence[Layer], *, input_shape: Any = None) -> Any:
    """The graph of NIR that a list of layers is.

    `Recurrent` becomes a subgraph with an edge from the neurons to the synapses and one
    back: norse and snntorch read that form.

    Args:
      layers: the network, from input to output.
      input_shape: the shape of one example, where the first layer does not tell it.

    Returns:
      A `nir.NIRGraph`; its arrays are numpy's, in the precision of the layers. A field
      that was a number is written for each unit, in float64.

    Raises:
      ImportError: without the package nir.
      TypeError: where something in the list is no layer.
      ValueError: where a field does not fit, or NIR cannot hold it.

    Example:
      >>> from apical.interop import nir
      >>> graph = nir.to_graph([nir.LIF(tau=20e-3)], input_shape=3)
      >>> sorted(graph.nodes), graph.nodes["layer_0_lif"].tau.tolist()
      (['input', 'layer_0_lif', 'output'], [0.02, 0.02, 0.02])
    """
    package = nir_package()
    shapes = layer_shapes(layers, input_shape)
    digits = len(str(len(shapes)))
    nodes: dict[str, Any] = {"input": _terminal(package, "input", shapes[0])}
    for i, (each, shape) in enumerate(zip(layers, shapes, strict=False)):
        # Files order nodes by name, and nirtorch reads loops in the order of the chain.
        name = f"layer_{i:0{digits}}_{name_of(each).lower()}"
        nodes[name] = _node(package, each, shape, f"layers[{i}]")
    nodes["output"] = _terminal(package, "output", shapes[-1])
    names = list(nodes)
    return package.NIRGraph(nodes, list(itertools.pairwise(names)))


def _terminal(package: Any, name: str, shape: Shape) -> Any:
    kind = package.Input if name == "input" else package.Output
    return kind({name: np.array(shape)})


def _node(package: Any, each: Layer, shape: Shape, where: str) -> Any:
    if isinstance(each, Recurrent):
        return _loop(package, each, shape, where)
    kind = getattr(package, name_of(each))
    arrays = {name: np.asarray(value) for name, value in array_fields(each).items()}
    for name, array in arrays.items():
        if array.dtype.kind not in "fiu":
            raise ValueError(
                f"{where}: {name_of(each)}.{name} has the type {array.dtype}, which "
                "files of NIR do not hold; convert it to float32."
            )
    if isinstance(each, Neurons | Scale | Delay):
        whole = {n: np.broadcast_to(a, shape).copy() for n, a in arrays.items()}
        return kind(**whole)
    if isinstance(each, Convolution):
        return _convolution(kind, each, arrays, shape, where)
    if isinstance(each, Pool):
        sizes = ("kernel_size", "stride", "padding")
        return kind(**{name: np.array(getattr(each, name)) for name in sizes})
    if isinstance(each, Flatten):
        kept = {"start_dim": each.start_dim, "end_dim": each.end_dim}
        return kind({"input": np.array(shape)}, **kept)
    return kind(**arrays)


def _convolution(
    kind: Any, each: Convolution, arrays: dict[str, Any], shape: Shape, where: str
) -> Any:
    kernel = arrays["weight"].shape[2:]
    if len({*kernel}) > 1 or each.groups != 1:
        what = f"a kernel of {kernel}" if each.groups == 1 else f"{each.groups} groups"
        raise ValueError(
            f"{where}: {name_of(each)} has {what}; the package nir derives wrong "
            "shapes from that and cannot read the file again. Pad the kernel with "
            "zeros to a square, and write groups out as zeros in the weight."
        )
    one = each.axes == 1
    sizes = {}
    for name in ("stride", "padding", "dilation"):
        value = getattr(each, name)
        sizes[name] = value[0] if one and not isinstance(value, str) else value
    space = shape[1] if one else shape[1:]
    return kind(input_shape=space, groups=each.groups, **arrays, **sizes)


def _loop(package: Any, each: Recurrent, shape: Shape, where: str) -> Any:
    nodes = {
        "input": _terminal(package, "input", shape),
        "lif": _node(package, each.neurons, shape, f"{where}: Recurrent.neurons"),
        "w_rec": _node(package, each.synapses, shape, f"{where}: Recurrent.synapses"),
        "output": _terminal(package, "output", shape),
    }
    edges = [("input", "lif"), ("lif", "w_rec"), ("w_rec", "lif"), ("lif", "output")]
    return package.NIRGraph(nodes, edges)
