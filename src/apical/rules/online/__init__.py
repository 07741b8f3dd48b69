"""Rules that find the derivatives of loops forwards in time."""

from ._efficient_traces import EfficientTraces as EfficientTraces
from ._eprop import EProp as EProp
from ._ottt import OTTT as OTTT
from ._rflo import RFLO as RFLO
from ._rtrl import RTRL as RTRL
from ._snap import SnAp as SnAp
from ._uoro import UORO as UORO
