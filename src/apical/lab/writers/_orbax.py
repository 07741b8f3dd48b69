"""Checkpoints of trained models, through orbax."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from apical.lab._errors import require_package
from apical.lab.run._callbacks import EpochEvent


class OrbaxCheckpoints:
    """Save the parameters of every run after every `every` epochs, and after the last.

    The arrays of a model are saved as a list, in the order of `jax.tree.leaves`, in
    `folder/model/rule/seed-0/epoch-5`. They are read back by `restore`, into a model of
    the same factory.

    Args:
        folder: where to write.
        every: the number of epochs between checkpoints.

    Raises:
        LabError: without orbax (`pip install 'apical[orbax]'`).
        ValueError: if `every` is below 1.

    Example:
        >>> import tempfile
        >>> from apical import lab
        >>> folder = tempfile.mkdtemp()
        >>> writer = lab.OrbaxCheckpoints(folder)
        >>> found = lab.compare(models=["mlp"], rules=["backpropagation"], epochs=1,
        ...                     seeds=1, callbacks=[writer])
        >>> saved = f"{folder}/mlp/backpropagation/seed-0"
        >>> lab.OrbaxCheckpoints.read(saved + "/epoch-1")[0].shape
        (128, 64)
    """

    def __init__(self, folder: str | Path, every: int = 1):
        if every < 1:
            raise ValueError(f"`every` must be at least 1, not {every!r}.")
        self._folder, self._every = Path(folder).absolute(), every
        self._package = _package()

    def __call__(self, event: EpochEvent) -> None:
        """Save the models of this epoch, one for each seed."""
        if event.epoch % self._every and event.epoch != event.epochs:
            return
        for record, model in zip(event.records, event.trained, strict=True):
            run = self._folder / event.model / event.rule / f"seed-{record['seed']}"
            arrays = [np.asarray(x) for x in jax.tree.leaves(model) if _is_array(x)]
            with self._package.StandardCheckpointer() as checkpointer:
                checkpointer.save(run / f"epoch-{event.epoch}", arrays, force=True)

    @staticmethod
    def read(folder: str | Path) -> list[np.ndarray]:
        """The arrays of one checkpoint, in the order of the model's leaves."""
        with _package().StandardCheckpointer() as checkpointer:
            return checkpointer.restore(Path(folder).absolute())

    @classmethod
    def restore(cls, folder: str | Path, model: Any) -> Any:
        """A model with the arrays of a checkpoint.

        Args:
            folder: of the checkpoint.
            model: a model of the same factory, with arrays of the same shapes.

        Raises:
            ValueError: where the arrays have other shapes.
        """
        saved, (leaves, treedef) = cls.read(folder), jax.tree.flatten(model)
        shapes = [np.shape(x) for x in leaves if _is_array(x)]
        if shapes != [x.shape for x in saved]:
            raise ValueError(
                f"{folder} has arrays of {[x.shape for x in saved]}, and `model` of "
                f"{shapes}: use a model of the factory that was trained."
            )
        arrays = iter(saved)
        return jax.tree.unflatten(
            treedef, [next(arrays) if _is_array(x) else x for x in leaves]
        )


def _is_array(x: Any) -> bool:
    return isinstance(x, jax.Array | np.ndarray)


def _package() -> Any:
    return require_package("orbax.checkpoint", "orbax", "OrbaxCheckpoints")
