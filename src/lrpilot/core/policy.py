"""The contract between a policy and the driver that flies it; its decisions carry a reason."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from lrpilot.core.actions import Action, Observation, Progress
from lrpilot.core.codec import record
from lrpilot.errors import PolicyError, StateError


@record
class Reason:
    """What was decided on an observation, and why.

    Attributes:
        code: short and always the same, in lower case ("raised", "held_uncertain").
        sentence: from what to what, and the numbers that decided; without a full stop.
        alarms: whether somebody should look at it: it is logged as a warning.
    """

    code: str
    sentence: str
    alarms: bool = False

    def __str__(self) -> str:
        """The sentence, and the code."""
        return f"{self.sentence} [{self.code}]"


def lr_from_to(before: float, after: float) -> str:
    """In words, what became of an lr (natural units)."""
    return f"lr stays {before:.3g}" if after == before else f"lr {before:.3g} to {after:.3g}"


@record
class Facts:
    """What can be seen of a training without training it, and a policy cannot see for itself.

    Attributes:
        averages: whether averaged flight is possible here (:class:`~lrpilot.core.actions.Average`): the optimizer's
            momentum, if it has one, can be set to 0 and is the same in all groups, and it keeps no average of its own.
        optimizer: "sgd" (plain, with momentum or Nesterov), "adam" (Adam and its kin), or "other".
        momentum: SGD's momentum or Adam's beta1, of the group with the most parameters, as the user has set it; None
            where there is none.
        pretrained: whether the weights have been trained before: a norm layer's scale is not constant, as a fresh
            one's is.
        epoch_steps: optimizer steps of one pass over the training data; None where its length is not known.
        trains_batchnorm: whether the model has BatchNorm layers that collect running statistics.
        batch_size: samples of a training batch; None where that is not known without reading one.
        customary_lr: default lr of the optimizer's class, natural units, whatever it was built with; None where it has
            none.
    """

    averages: bool = False
    optimizer: Literal["sgd", "adam", "other"] = "other"
    momentum: float | None = None
    pretrained: bool = False
    epoch_steps: int | None = None
    trains_batchnorm: bool = False
    batch_size: int | None = None
    customary_lr: float | None = None


@record
class Context:
    """What a policy knows before it is asked for the first time.

    Attributes:
        lr: the optimizer's reference lr when the flight began (the largest group's).
        progress: steps taken (0) and left (None: open horizon).
        continues: whether Trials may be kept and continued (``Trial.keep``, ``Continue``). Only ``fit`` and
            ``simulate`` grant it, on request: in a user's own loop every Trial is rewound.
        facts: what can be seen of the training.
    """

    lr: float
    progress: Progress
    continues: bool = False
    facts: Facts = Facts()


class Policy(ABC):
    """A decision rule: pure functions of an explicit state.

    A policy is a ``@record`` holding its settings. It never sees a model: it asks for actions and is
    told observations. ``init``, ``ask`` and ``tell`` must not mutate anything, so that a state can be
    kept, saved, replayed, and computed equally on every rank.

    The state is a ``@record`` (or plain data) that the codec can encode. ``ask`` is called after
    every ``tell``; while a Train runs, an equal Train lets it continue and any other action replaces it.

    Attributes:
        max_marks: how many marks the policy may hold at once (each costs memory of the model's size).
        max_ends: how many ends of Trials it may keep at once, likewise, where Trials may be continued.
        needs_lines: whether it asks for Lines, which mean nothing for an optimizer whose step is not linear in its
            lr: those that are known not to be are refused when the policy is bound to a training.
        trains: whether it asks for Trains; a finder does not: it measures and ends in ``Done(result)``.
    """

    HOLDS_SETTINGS: ClassVar[bool] = True  # a user's: numbers of NumPy and torch become Python's
    max_marks: ClassVar[int] = 0
    max_ends: ClassVar[int] = 0
    needs_lines: ClassVar[bool] = False
    trains: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """Name in histories and reports."""
        return type(self).__name__

    @abstractmethod
    def init(self, context: Context) -> Any:
        """The first state."""

    @abstractmethod
    def ask(self, state: Any) -> Action:
        """The next action. Pure: the same state gives the same action."""

    @abstractmethod
    def tell(self, state: Any, observation: Observation) -> Any:
        """The state after ``observation`` of the action last asked. The old state stays valid."""

    def explain(self, state: Any, observation: Observation, after: Any) -> Reason | None:
        """What ``tell`` decided, for events and logs; None where it decided nothing.

        Args:
            state: before.
            observation: that it was told.
            after: the state it made of them.
        """
        return None

    def replan(self, state: Any, progress: Progress) -> Any:
        """The state under another horizon: a flight is resumed with more steps than it was planned for, or with fewer.

        Called once, when it is loaded. Then the policy is asked anew: while a Train runs, an equal Train goes on where
        it is, any other begins here. By default a policy refuses.

        Args:
            state: as it was saved.
            progress: kept steps taken, inside a Train too, and left under the new horizon (None: open), >= 1.

        Raises:
            StateError: what has been flown has no meaning under that horizon; in a sentence, without a remedy.
        """
        raise StateError(f"{self.name} has laid out its flight over another horizon.")

    def account(self, state: Any) -> Mapping[str, Any]:
        """What only the policy knows of its flight, for :meth:`lrpilot.Pilot.report`: by name, and plain data.

        Values are numbers, words, None, or tuples and mappings of them; floats in natural units. They are shown in this
        order: a name is a few words ("lr as left by the user").

        Args:
            state: where the flight stands.
        """
        return {}


def not_asked_for(name: str, observation: Observation, *, asked_for: str | None = None) -> PolicyError:
    """The error of a policy that was told of something else than it asked for.

    Args:
        name: of the policy.
        observation: that it was told.
        asked_for: what it did ask for.
    """
    what = "what it asked for" if asked_for is None else f"what it asked for, {asked_for}"
    return PolicyError(
        f"{name} must be told of {what}, got {type(observation).__name__}. Tell it the observation of its own action."
    )
