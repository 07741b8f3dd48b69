"""Analysis of a traced loss function: dependence, nodes, synapses, outputs."""
