"""Image files to explanations: maps, boxes, pictures and records.

``images`` writes a picture and a record for each class of each image. ``comparison`` puts methods, classes or networks
side by side.
"""
