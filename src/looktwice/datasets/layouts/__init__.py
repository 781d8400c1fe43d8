"""A reader for each layout of data sets."""
