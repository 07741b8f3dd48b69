"""Checkpoint of the current run, in one file.

The file is a line of JSON (which run, which step, checksums of the arrays and of the
result lines written so far), followed by the arrays in NumPy's format. Nothing is
pickled: reading needs arrays of the same shapes.
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
from apical.lab.storage._checksums import read_json, verified, with_checksum
from apical.lab.storage._jsonl import replace_file
from apical.lab.training._train import TrainProgress

EVERY = 10.0  # seconds; about this much work is repeated after a kill
_UNREADABLE = (OSError, ValueError, TypeError, KeyError, EOFError, RuntimeError)
SHARE = 0.02  # of the time may go into writing: large weights are saved less often


class LoadedCheckpoint(NamedTuple):
    """The progress, and the digest of the lines that were written before it."""

    progress: TrainProgress
    written: str


class Checkpoint:
    """The checkpoint file, which holds one run at a time.

    Args:
        path: the file. None: nothing is saved.
    """

    def __init__(self, path: Path | None):
        self.path = path
        self._last, self._wait = time.monotonic(), EVERY

    def save(
        self, stage: str, progress: TrainProgress, written: Callable[[], str]
    ) -> None:
        """Save the progress, unless it was saved less than `EVERY` seconds ago.

        Args:
            stage: the name of the run.
            progress: how far it has got.
            written: returns the digest of the lines that it has written.
        """
        began = time.monotonic()
        if self.path is None or began - self._last < self._wait:
            return
        body = io.BytesIO()
        eqx.tree_serialise_leaves(body, _body(progress))
        head = {
            "stage": stage,
            "epoch": progress.epoch,
            "part": progress.calls,
            "steps": len(progress.losses),
            "written": written(),
            "arrays": _digest(body.getvalue()),
        }
        line = json.dumps(with_checksum(head)).encode() + b"\n"
        replace_file(self.path, line + body.getvalue())
        self._last = time.monotonic()
        self._wait = max(EVERY, (self._last - began) / SHARE)

    def load(self, stage: str, begun: TrainProgress) -> LoadedCheckpoint | None:
        """The saved progress of this run, or None.

        Args:
            stage: the name of the run.
            begun: the progress before its first step, for the shapes of its arrays.
        """
        if self.path is None or not self.path.exists():
            return None
        try:
            line, _, content = self.path.read_bytes().partition(b"\n")
            head = verified(dict(read_json(line.decode())))
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
                f"{self.path} cannot be read ({error}); remove it, and the "
                "interrupted run starts again"
            ) from error
        learned = jax.tree.map(_like, learned, begun.learned)
        progress = TrainProgress(head["epoch"], head["part"], losses, diverged, learned)
        return LoadedCheckpoint(progress, head["written"])

    def clear(self) -> None:
        """Remove the file: the run has ended."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _body(progress: TrainProgress) -> Any:
    learned = jax.tree.map(_plain, progress.learned)
    return progress.losses, progress.diverged, learned


def _is_key(leaf: Any) -> bool:
    return jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(leaf: Any) -> Any:
    """The leaf; of a random key, its integers."""
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _like(leaf: Any, begun: Any) -> Any:
    if not _is_key(begun):
        return leaf
    return jax.random.wrap_key_data(leaf, impl=jax.random.key_impl(begun))
