"""One round of self-training on scale-invariant examples, as pure functions.

In the order of a round: `confidence` (how sure the network is of each pixel), `selection` (which
target images are taken), `thresholds` (how sure is sure enough, per class) and `patches` (the
scaled-up crops and their pseudo-labels). `docs/method.md` tells the whole story. Nothing here
reads a file or a setting; `selection` and `thresholds` need numpy alone.
"""
