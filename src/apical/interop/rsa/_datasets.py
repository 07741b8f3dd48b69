"""Values and teaching signals of nodes as data sets of rsatoolbox."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...measure.representation import example_rows

try:
    from rsatoolbox.data.dataset import Dataset
except ImportError as error:
    raise ImportError(
        "`apical.interop.rsa` needs rsatoolbox, which comes with an extra: "
        "`pip install 'apical[rsa]'`."
    ) from error


def datasets(
    representations: Mapping[str, Any], *, conditions: Sequence[Any] | None = None
) -> list[Dataset]:
    """Representations as data sets, to compute and compare dissimilarities.

    Args:
      representations: by name, arrays `[examples, ...]` or pytrees of these, side by
        side: the values of a node, its teaching signals under several rules, a
        recording.
      conditions: for each example the condition that it belongs to (a class, a
        stimulus); by default each is one. `rsatoolbox.rdm.calc_rdm(...,
        descriptor="condition")` averages over the examples of a condition.

    Returns:
      A `rsatoolbox.data.Dataset` for each, with `descriptors["name"]`, and
      `obs_descriptors["condition"]`.

    Raises:
      ImportError: without rsatoolbox.
      ValueError: for representations of other numbers of examples.

    Example:
      >>> import jax, apical, rsatoolbox
      >>> from apical.interop import rsa
      >>> x = jax.random.normal(jax.random.key(0), (6, 3))
      >>> a, b = rsa.datasets({"a": x, "b": 2 * x})
      >>> rdms = [rsatoolbox.rdm.calc_rdm(d, descriptor="condition") for d in (a, b)]
      >>> round(float(rsatoolbox.rdm.compare(*rdms, method="cosine")[0, 0]), 3)
      1.0

    Source: Kriegeskorte, Mur & Bandettini 2008, Frontiers in Systems Neuroscience 2:4.
    """
    tables = {
        name: np.asarray(example_rows(x, name=name), float)
        for name, x in representations.items()
    }
    counts = {name: len(table) for name, table in tables.items()}
    if conditions is not None:
        counts["conditions"] = len(conditions)
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name!r} has {n}" for name, n in counts.items())
        raise ValueError(f"All must describe the same examples, and {listed}.")
    found = []
    for name, table in tables.items():
        given = np.arange(len(table)) if conditions is None else np.asarray(conditions)
        if np.issubdtype(given.dtype, np.integer):  # rsatoolbox fills a copy with NaN
            given = given.astype(float)
        found.append(
            Dataset(
                table,
                descriptors={"name": name},
                obs_descriptors={"condition": given},
                channel_descriptors={"unit": np.arange(table.shape[1])},
            )
        )
    return found
