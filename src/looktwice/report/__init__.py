"""Finished runs to a page and to tables; no network."""
