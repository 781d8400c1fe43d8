"""A data set through a network and its methods, into a run on the disk.

Any number of processes may work on one run. Each may be stopped at any moment, and the work goes on from there.
"""
