"""Spiking neurons as plain JAX functions: surrogates, neurons, encoders, read-outs."""

from ._spike_times import SpikeTimes as SpikeTimes
from ._spike_times import peak_potential as peak_potential
from ._spike_times import spike_times as spike_times
