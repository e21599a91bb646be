"""Autopilot: no number from the user, one short search, and the way to fly that suits the training.

| file | what is there |
|---|---|
| ``default`` | ``Autopilot``: search, fly, and come back from what kills the training |
| ``plan`` | what is decided before anything is measured: averaged or ordinary, and what the search may cost |
| ``course`` | the lr over all steps of a flight |
| ``state`` | what is remembered between two calls |
| ``reasons`` | what is said of a decision |
"""

from lrpilot.policies.autopilot.default import Autopilot

__all__ = ["Autopilot"]
