"""What is found in a traced loss function: dependence, nodes, synapses."""
