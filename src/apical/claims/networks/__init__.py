"""The networks that the claims train."""

from apical.claims.networks._fully_connected import activated as activated
from apical.claims.networks._fully_connected import layer_normed as layer_normed
from apical.claims.networks._fully_connected import normed as normed
from apical.claims.networks._fully_connected import plain as plain
from apical.claims.networks._fully_connected import sigmoid as sigmoid
from apical.claims.networks._fully_connected import tanh_net as tanh_net
from apical.claims.networks._millidge2020 import LETTERS as LETTERS
from apical.claims.networks._millidge2020 import name_net as name_net
from apical.claims.networks._millidge2020 import picture_net as picture_net
from apical.claims.networks._millidge2020 import text_net as text_net
from apical.claims.networks._residual import residual_net as residual_net
