"""The checkpoint: where the run that is going on has come to, in one file.

A line of JSON that says which run and which step, then the arrays in NumPy's own form.
Nothing is pickled: to read it, the same arrays are made anew for their shapes. The line
has a checksum of the arrays, and one of the lines that the run had written till then.
"""

import hashlib
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np

from apical.lab._errors import LabError
from apical.lab.storage._checksums import read_json, sealed, unsealed
from apical.lab.storage._jsonl import replace_file
from apical.lab.training._train import Position

EVERY = 10.0  # seconds; about so much work is done twice after a kill
_UNREADABLE = (OSError, ValueError, TypeError, KeyError, EOFError, RuntimeError)
SHARE = 0.02  # of the time may go into writing: large weights are kept more seldom


class Kept(NamedTuple):
    """A position, and the digest of the lines that were written before it."""

    position: Position
    written: str


class Checkpoint:
    """Keeps the latest position of one run at a time.

    Args:
        path: the file. None: nothing is kept.
    """

    def __init__(self, path: Path | None):
        self.path = path
        self._last, self._wait = time.monotonic(), EVERY

    def save(self, stage: str, position: Position, written: Callable[[], str]) -> None:
        """Keep this position, unless one was kept a moment ago.

        Args:
            stage: which run it is of.
            position: where the run is.
            written: tells the digest of the lines that it has written.
        """
        began = time.monotonic()
        if self.path is None or began - self._last < self._wait:
            return
        body = io.BytesIO()
        eqx.tree_serialise_leaves(body, _body(position))
        head = {
            "stage": stage,
            "epoch": position.epoch,
            "part": position.part,
            "steps": len(position.losses),
            "written": written(),
            "arrays": _digest(body.getvalue()),
        }
        line = json.dumps(sealed(head)).encode() + b"\n"
        replace_file(self.path, line + body.getvalue())
        self._last = time.monotonic()
        self._wait = max(EVERY, (self._last - began) / SHARE)

    def load(self, stage: str, begun: Position) -> Kept | None:
        """The position kept for this run, or None.

        Args:
            stage: which run it is.
            begun: the run before its first step, for the shapes of its arrays.
        """
        if self.path is None or not self.path.exists():
            return None
        try:
            line, _, content = self.path.read_bytes().partition(b"\n")
            head = unsealed(dict(read_json(line.decode())))
            if head["stage"] != stage:
                return None
            if head["arrays"] != _digest(content):
                raise ValueError("its arrays are not what was written")
            empty = np.zeros((head["steps"], begun.losses.shape[1]))
            like = begun._replace(losses=empty)
            losses, diverged, learned = eqx.tree_deserialise_leaves(
                io.BytesIO(content), _body(like)
            )
        except _UNREADABLE as error:
            raise LabError(
                f"{self.path} cannot be read ({error}); remove it, and the run that "
                "was going on begins anew"
            ) from error
        learned = jax.tree.map(_like, learned, begun.learned)
        position = Position(head["epoch"], head["part"], losses, diverged, learned)
        return Kept(position, head["written"])

    def clear(self) -> None:
        """Forget the position: the run has ended."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _body(position: Position) -> Any:
    learned = jax.tree.map(_plain, position.learned)
    return position.losses, position.diverged, learned


def _is_key(leaf: Any) -> bool:
    return jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(leaf: Any) -> Any:
    """Keys of random numbers as the integers they are made of."""
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _like(leaf: Any, begun: Any) -> Any:
    if not _is_key(begun):
        return leaf
    return jax.random.wrap_key_data(leaf, impl=jax.random.key_impl(begun))
