"""Loss-weighted factors: the lr moves to the weighted geometric mean of a few factors of itself.

Source: "Automated learning rate scheduling with in-training information", Algorithm 1. All candidates lie on one
Line, so that two copies of the parameters serve any number of them; the authors copy the model for each.

| file | what is there |
|---|---|
| ``published`` | ``PublishedWeightedFactors``: the paper's algorithm |
| ``default`` | ``WeightedFactors``: the same rule, that undoes what wrecked the weights, and ends at zero |
| ``reading`` | what both read off a Line, and what their settings must be |
| ``state`` | what is remembered between two calls |
"""

from lrpilot.policies.weighted_factors.default import WeightedFactors
from lrpilot.policies.weighted_factors.published import PublishedWeightedFactors

__all__ = ["PublishedWeightedFactors", "WeightedFactors"]
