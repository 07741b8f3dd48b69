"""Spiking neurons as plain JAX functions: surrogates, neurons, encoders, read-outs."""

from ._first_spike_loss import first_spike_loss as first_spike_loss
from ._peak_potential import peak_potential as peak_potential
from ._spike_times import SpikeTimes as SpikeTimes
from ._spike_times import spike_times as spike_times
