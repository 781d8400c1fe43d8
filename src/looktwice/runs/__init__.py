"""A run on disk: its folder, its rows, and what is counted of them; no network."""
