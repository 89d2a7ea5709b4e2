"""One round of self-training on scale-invariant examples, as pure functions.

In the order of a round: `confidence` (how sure the network is of each pixel), `ranking` and
`selection` (which target images are taken), `thresholds` (how sure is sure enough, per class) and
`patches` (the scaled-up crops and their pseudo-labels); `one_round` puts them together for given
probabilities. `health` (is a round still sound) sets one round against the one before, and `audit`
(how right are its labels) against labels that nothing else reads. `docs/method.md` tells the whole
story. Nothing here reads a setting of a project, and a file only `ranking.read_ranking`;
`ranking`, `selection`, `thresholds`, `health` and `audit` need numpy alone.
"""
