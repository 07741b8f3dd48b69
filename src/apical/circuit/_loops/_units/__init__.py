"""The units of a step, and what their synapses pass to them."""
