"""Procedurally drawn street scenes in the 19 classes of Cityscapes.

A scene is built in metres, seen through a pinhole camera and painted from far to near on one canvas
of surface numbers. A table then says for every surface which class it is, what it is made of and in
which plane it lies. Labels are looked up in that table before any light falls on it, so nothing
that concerns appearance can change them. A domain is a style: a flat dict of numbers, see
`style.STYLE`. `draw.draw_street` draws one scene.

World axes: x to the right, y up, z along the street; the camera stands at (0, camera_height, 0).

This file imports nothing, so that styles can be checked without loading what draws.
"""
