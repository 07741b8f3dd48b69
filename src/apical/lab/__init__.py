"""Compare learning rules: what `apical compare` runs, callable from Python.

Names are imported when they are first used, so that listing the rules does not import
matplotlib.
"""

from typing import TYPE_CHECKING, Any

from apical.lab._lazy import attribute

if TYPE_CHECKING:
    from apical.lab._compare import compare as compare
    from apical.lab._compare import resume as resume
    from apical.lab._comparison_result import Comparison as Comparison
    from apical.lab._errors import LabError as LabError
    from apical.lab._errors import TaskError as TaskError
    from apical.lab._registry import COMPARED as COMPARED
    from apical.lab._registry import NOT_COMPARED as NOT_COMPARED
    from apical.lab._registry import RULES as RULES
    from apical.lab.data._dataset import Data as Data
    from apical.lab.data._load import load as load
    from apical.lab.engines._find import find_engine as find_engine
    from apical.lab.engines._ray import RayEngine as RayEngine
    from apical.lab.engines._slurm import SlurmEngine as SlurmEngine
    from apical.lab.run._callbacks import EpochEvent as EpochEvent
    from apical.lab.storage._output_dir import free_folder as free_folder
    from apical.lab.writers._orbax import OrbaxCheckpoints as OrbaxCheckpoints
    from apical.lab.writers._tensorboard import TensorBoard as TensorBoard
    from apical.lab.writers._weights_and_biases import (
        WeightsAndBiases as WeightsAndBiases,
    )

_HOMES = {
    **dict.fromkeys(("NOT_COMPARED", "COMPARED", "RULES"), "_registry"),
    **dict.fromkeys(("compare", "resume"), "_compare"),
    "Comparison": "_comparison_result",
    "Data": "data._dataset",
    "free_folder": "storage._output_dir",
    **dict.fromkeys(("LabError", "TaskError"), "_errors"),
    "find_engine": "engines._find",
    "RayEngine": "engines._ray",
    "SlurmEngine": "engines._slurm",
    "load": "data._load",
    "EpochEvent": "run._callbacks",
    "OrbaxCheckpoints": "writers._orbax",
    "TensorBoard": "writers._tensorboard",
    "WeightsAndBiases": "writers._weights_and_biases",
}


def __getattr__(name: str) -> Any:
    return attribute(__name__, _HOMES, name)


def __dir__() -> list[str]:
    return sorted(_HOMES)
