"""Image files to maps, boxes and pictures."""
