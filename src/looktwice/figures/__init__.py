"""Drawing; no network."""
