"""Models: equinox modules that are independent of the learning rules."""

from apical.lab.models._layout import check_layout as check_layout
from apical.lab.models._layout import layout_note as layout_note
from apical.lab.models._model import Model as Model
from apical.lab.models._registry import MODELS as MODELS
from apical.lab.models._registry import check_model as check_model
from apical.lab.models._registry import find_model as find_model
from apical.lab.models._registry import own_model as own_model
from apical.lab.models._torch import build_model as build_model
from apical.lab.models._torch import check_operations as check_operations
