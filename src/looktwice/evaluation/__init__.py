"""A data set through the network, into a run."""
