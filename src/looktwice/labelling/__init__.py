"""A classifier and a folder of pictures → a labelled detection data set.

``label_images`` looks at every picture once, writes what it found in parts, and then the forms that are asked for.
``check`` compares the result with boxes drawn by hand.
"""
