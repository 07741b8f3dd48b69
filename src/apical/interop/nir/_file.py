"""Files of NIR."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ._discrete_time import check_dt, check_method
from ._export import nir_package, to_graph
from ._import import from_graph
from ._layer import Layer


class Network(NamedTuple):
    """What a file holds.

    Attributes:
      layers: the network, from input to output.
      dt: the time step in seconds that it was written with, or None where the file does
        not tell: NIR describes continuous time.
      method: the discretisation that it was written with, or None.
    """

    layers: list[Layer]
    dt: float | None
    method: str | None


def write(
    path: str | Path,
    layers: Sequence[Layer],
    *,
    dt: float,
    method: str = "euler",
    input_shape: Any = None,
) -> None:
    """Write a list of layers to a file of NIR.

    NIR describes continuous time. The time step and the discretisation with which the
    network runs as it was trained go into the file's metadata, which `read` returns
    and other programs ignore: norse takes `dt` as an argument, snntorch is fixed to
    1e-4.

    Args:
      path: the file; an existing one is replaced.
      layers: the network, from input to output.
      dt: the time step, in seconds.
      method: the discretisation.
      input_shape: the shape of one example, where the first layer does not tell it.

    Raises:
      ImportError: without the package nir.
      TypeError: where something in the list is no layer.
      ValueError: where a field does not fit, or NIR cannot hold it.

    Example:
      >>> import tempfile, pathlib
      >>> from apical.interop import nir
      >>> path = pathlib.Path(tempfile.mkdtemp(), "net.nir")
      >>> nir.write(path, [nir.LIF(tau=20e-3)], dt=1e-3, input_shape=3)
      >>> network = nir.read(path)
      >>> network.dt, network.layers[0].tau.tolist()
      (0.001, [0.02, 0.02, 0.02])
    """
    package = nir_package()
    check_dt(dt)
    check_method(method)
    graph = to_graph(layers, input_shape=input_shape)
    graph.metadata = {"dt": float(dt), "method": method}
    package.write(path, graph)


def read(path: str | Path) -> Network:
    """Read a file of NIR.

    Args:
      path: the file.

    Returns:
      The layers, whose arrays are those of the file, and the time step and the
      discretisation where the file tells them.

    Raises:
      ImportError: without the package nir.
      ValueError: where the graph is no chain of layers known here, naming the node.

    Example: see `write`.
    """
    graph = nir_package().read(path)
    metadata = graph.metadata if isinstance(graph.metadata, dict) else {}
    dt, method = metadata.get("dt"), metadata.get("method")
    method = method.decode() if isinstance(method, bytes) else method
    return Network(from_graph(graph), None if dt is None else float(dt), method)
