"""A run on disk: its folder, its manifest, its rows, its saved maps, and the summary that is counted from the rows.

``evaluation`` writes runs, ``report`` shows them. Nothing here needs a network, so a run can be merged, summed up and
read on a computer without PyTorch.
"""
