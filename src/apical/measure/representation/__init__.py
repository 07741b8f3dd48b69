"""Representations: their rank, their similarity, and recordings beside signals."""

from ._cka import cka as cka
from ._cka import similarity_matrix as similarity_matrix
from ._effective_rank import effective_rank as effective_rank
from ._recording_fit import RecordingFit as RecordingFit
from ._recording_fit import RuleFit as RuleFit
from ._recording_fit import recording_fit as recording_fit
from ._rows import example_rows as example_rows
