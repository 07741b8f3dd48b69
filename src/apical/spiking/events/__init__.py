"""LIF neurons in continuous time: exact spike times and what is learned from them."""

from ._first_spike_loss import first_spike_loss as first_spike_loss
from ._spike_times import SpikeTimes as SpikeTimes
from ._spike_times import spike_times as spike_times
from ._subthreshold_peak import subthreshold_peak as subthreshold_peak
