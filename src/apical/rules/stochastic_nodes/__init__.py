"""Rules for stochastic binary nodes (`apical.bernoulli`): gradient estimators."""

from ._concrete import Concrete as Concrete
from ._score_function import ScoreFunction as ScoreFunction
from ._straight_through import StraightThrough as StraightThrough
