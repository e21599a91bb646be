"""Policies by name, for the command line and the benchmark; each is imported when it is asked for.

A name is either a kind of schedule ("cosine") or a method. A method is one line in ``METHODS``.
"""

import inspect
from collections.abc import Callable
from functools import partial
from importlib import import_module
from operator import attrgetter
from typing import Any

from lrpilot.core.names import unknown_name
from lrpilot.core.policy import Policy
from lrpilot.policies.schedules.shapes import SCHEDULES

# "module:attribute"; the attribute may be dotted, for a class's own presets ("module:Class.preset").
METHODS: dict[str, str] = {
    "annealed_search": "lrpilot.policies.finders.annealed_search:AnnealedSearch",
    "autolrs": "lrpilot.policies.autolrs:AutoLRS",
    "autolrs_paper": "lrpilot.policies.autolrs:AutoLRS.paper",
    "beam_search": "lrpilot.policies.beam_search:BeamSearch",
    "lr_tuner": "lrpilot.policies.lr_tuner.policy:LRTuner",
    "lr_tuner_paper": "lrpilot.policies.lr_tuner.policy:LRTuner.paper",
    "range_test": "lrpilot.policies.finders.range_test:RangeTest",
    "step_sampling": "lrpilot.policies.finders.step_sampling:StepSampling",
    "weighted_factors": "lrpilot.policies.weighted_factors:WeightedFactors",
    "weighted_factors_paper": "lrpilot.policies.weighted_factors:WeightedFactors.paper",
}


def policy_names() -> tuple[str, ...]:
    """Every name that :func:`get_policy` knows, sorted."""
    return tuple(sorted({*SCHEDULES, *METHODS}))


def get_policy(name: str, /, **settings: Any) -> Policy:
    """A policy by its name.

    Args:
        name: a kind of schedule or a method, see :func:`policy_names`.
        **settings: its settings, as its class takes them.

    Raises:
        SettingError: the name or a setting is unknown (the closest one is offered), or out of range.
    """
    make, known = _factory(name), settings_of(name)
    for setting in settings:
        if setting not in known:
            raise unknown_name(f"A setting of {name!r}", setting, known)
    return make(**settings)


def settings_of(name: str, /) -> tuple[str, ...]:
    """The settings that a policy takes by name.

    Raises:
        SettingError: the name is unknown.
    """
    return tuple(inspect.signature(_factory(name)).parameters)


def _factory(name: str) -> Callable[..., Policy]:
    if name in SCHEDULES:
        from lrpilot.policies.schedules.schedule import Schedule

        return partial(Schedule, name)
    if name not in METHODS:
        raise unknown_name("A policy", name, policy_names())
    module, _, attribute = METHODS[name].partition(":")
    made: Callable[..., Policy] = attrgetter(attribute)(import_module(module))
    return made
