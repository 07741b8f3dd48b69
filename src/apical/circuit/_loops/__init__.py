"""Loops as steps: units, recurrent synapses, and gradients by eligibility traces."""
