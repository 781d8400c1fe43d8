"""Finished runs as a page and as the paper's tables.

``page`` makes one HTML file with tables, plots and a gallery. ``paper_tables`` makes the tables of Fu et al. (2017)
with their numbers beside ours. Nothing here needs a network.
"""
