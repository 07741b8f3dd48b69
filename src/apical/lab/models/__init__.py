"""The models: ordinary equinox modules that know nothing of learning rules."""

from apical.lab.models._check import check_model as check_model
from apical.lab.models._find import MODELS as MODELS
from apical.lab.models._find import find_model as find_model
from apical.lab.models._find import own_model as own_model
from apical.lab.models._layout import check_layout as check_layout
from apical.lab.models._layout import layout_said as layout_said
from apical.lab.models._model import Model as Model
