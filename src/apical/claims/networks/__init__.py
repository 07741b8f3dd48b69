"""The networks that the claims train."""

from apical.claims.networks._deep_convolutional import (
    deep_convolutional_net as deep_convolutional_net,
)
from apical.claims.networks._fully_connected import batch_norm_mlp as batch_norm_mlp
from apical.claims.networks._fully_connected import layer_norm_mlp as layer_norm_mlp
from apical.claims.networks._fully_connected import mlp as mlp
from apical.claims.networks._fully_connected import relu_mlp as relu_mlp
from apical.claims.networks._fully_connected import sigmoid_mlp as sigmoid_mlp
from apical.claims.networks._fully_connected import tanh_net as tanh_net
from apical.claims.networks._millidge2020 import LETTERS as LETTERS
from apical.claims.networks._millidge2020 import convolutional_net as convolutional_net
from apical.claims.networks._millidge2020 import lstm_net as lstm_net
from apical.claims.networks._millidge2020 import recurrent_net as recurrent_net
from apical.claims.networks._recurrent_spiking import (
    recurrent_spiking_net as recurrent_spiking_net,
)
from apical.claims.networks._residual import residual_net as residual_net
