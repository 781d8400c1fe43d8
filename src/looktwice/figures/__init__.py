"""Drawing: maps and boxes on images, sheets of pictures, animations. Nothing here needs a network."""
