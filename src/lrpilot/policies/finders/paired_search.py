"""Paired search: the peak lr of a schedule that ends at zero, for the price of a few short Trials.

The search of :mod:`lrpilot.policies.peak_search`, which Autopilot flies too, for the optimizer as it is: annealed
Trials from one state on the same batches, half a decade apart, from what is customary for such an optimizer until the
best stands between two worse ones; training losses are compared batch by batch. No held-out loss is read, and nothing
else is spent: a search costs its budget at most.
"""

from dataclasses import replace
from typing import ClassVar

from lrpilot.core.actions import Action, Done, Observation, Trial
from lrpilot.core.codec import record
from lrpilot.core.found import FindCode, LengthPick
from lrpilot.core.policy import Context, Policy, Reason
from lrpilot.core.settings import check_num_steps, check_range, is_positive
from lrpilot.core.trials import expect_trial
from lrpilot.errors import SettingError
from lrpilot.found import FoundLR
from lrpilot.policies.peak_search.outcome import interval_of, outcome_of
from lrpilot.policies.peak_search.pick import trial_error
from lrpilot.policies.peak_search.prior import Prior, expected
from lrpilot.policies.peak_search.search import FEWEST_STEPS, PeakSearch
from lrpilot.policies.peak_search.trials import Way
from lrpilot.policies.peak_search.words import pick_words, tried_words

BUDGET = 150.0  # training steps' worth
CHECK = 1.0  # of them, the proof that the training works, which comes before every search
FEWEST_TRIALS = 3  # the best one, and a worse one on either side
TRIALS = 5  # that the budget is laid out for: two more, where the best lr is a decade from the customary one
METRIC = "training loss of the last steps of each trial"


@record
class PairedSearch(Policy):
    """Finder of a peak lr for decay to zero: ends in ``Done`` with a :class:`~lrpilot.found.FoundLR`.

    The suggestion weighs what the Trials say, the error of Trials so short taken into account, against what was
    expected before (:func:`~lrpilot.policies.peak_search.prior.expected`); its interval holds the best peak nine times
    in ten, as far as that error is known. The result says where Trials and expectation differ (``trial_best`` and
    ``expected`` among its suggestions), and by its code where the Trials could not tell.

    Attributes:
        budget: training steps' worth that the search may cost, everything counted.
        num_steps: of a Trial; None for a fifth of the budget.
        min_lr: smallest peak tried, natural units.
        max_lr: largest peak tried.
    """

    trains: ClassVar[bool] = False

    budget: float = BUDGET
    num_steps: int | None = None
    min_lr: float = 1e-7
    max_lr: float = 10.0

    def __post_init__(self) -> None:
        check_range(self.min_lr, self.max_lr)
        if not is_positive(self.budget):
            raise SettingError(
                f"budget must be a finite number of training steps > 0, got {self.budget!r}. The default is {BUDGET:g}."
            )
        if self.num_steps is not None:
            check_num_steps(self.num_steps, least=FEWEST_STEPS, default=_usual_steps(BUDGET))
        if self.budget < (least := FEWEST_TRIALS * self.trial_steps + CHECK):
            raise SettingError(
                f"budget must be >= {least:g} for {FEWEST_TRIALS} trials of {self.trial_steps} steps and a check of "
                f"the training, got {self.budget:g}. The default is {BUDGET:g}."
            )

    @property
    def name(self) -> str:
        """Name in histories and reports."""
        return "paired_search"

    @property
    def trial_steps(self) -> int:
        """Steps of a Trial."""
        return _usual_steps(self.budget) if self.num_steps is None else self.num_steps

    # ------------------------------------------------------------ the policy

    def init(self, context: Context) -> PeakSearch:
        """Nothing known but what can be seen of the training; the optimizer's own lr is not looked at."""
        facts = context.facts
        prior = expected(facts, facts.momentum)
        return PeakSearch(
            way=Way(),
            prior=Prior(min(max(prior.lr, self.min_lr), self.max_lr), prior.spread),
            error=trial_error(facts, self.trial_steps, averaged=False),
            steps=self.trial_steps,
            allowance=self.budget - CHECK,
            min_lr=self.min_lr,
            max_lr=self.max_lr,
        )

    def ask(self, state: PeakSearch) -> Action:
        """Trial by Trial, then the result."""
        trial: Trial | None = state.next_trial()
        return Done(self._result(state)) if trial is None else trial

    def tell(self, state: PeakSearch, observation: Observation) -> PeakSearch:
        """Note a Trial."""
        return state.told(expect_trial(observation, self.name))

    def explain(self, state: PeakSearch, observation: Observation, after: PeakSearch) -> Reason:
        """What would be picked now, after every Trial; at the end the outcome."""
        if after.next_trial() is not None:
            return Reason("tried", tried_words(state, after))
        code = outcome_of(after)
        trials = f"{len(after.probed)} trials of {after.steps} steps"
        if not code.has_lr:
            return Reason(code.name.lower(), f"no lr by {trials}: {code.value.removesuffix('.')}", alarms=True)
        return Reason(code.name.lower(), f"{pick_words(after)} by {trials}", alarms=code is not FindCode.OK)

    # ---------------------------------------------------------------- result

    def _result(self, search: PeakSearch) -> FoundLR:
        trials = sorted(search.probed, key=lambda one: one.lr)
        empty = FoundLR(
            lr=None,
            target="decay",
            method=self.name,
            code=outcome_of(search),
            window=None,
            interval=None,
            suggestions={"paired": None, "trial_best": None, "expected": search.prior.lr},
            lrs=tuple(one.lr for one in trials),
            losses=tuple(one.score for one in trials),
            start_loss=trials[0].first if trials else None,
            metric=METRIC,
        )
        return self._with_lr(empty, search) if empty.code.has_lr else empty

    def _with_lr(self, found: FoundLR, search: PeakSearch) -> FoundLR:
        pick = search.pick
        assert pick is not None  # a code with an lr has one
        lr = self._allowed(pick.lr)
        low, high = interval_of(search, pick)
        low, high = min(low, lr), max(high, lr)
        return replace(
            found,
            lr=lr,
            window=(self._allowed(low), self._allowed(high)),
            interval=(low, high),
            suggestions=found.suggestions | {"paired": lr, "trial_best": pick.trial_lr},
            lengths=(LengthPick(search.steps, pick.trial_lr, (low, high), found.lrs, found.losses),),
        )

    def _allowed(self, lr: float) -> float:
        return min(max(lr, self.min_lr), self.max_lr)


def _usual_steps(budget: float) -> int:
    """Of a Trial, where none are given."""
    return max(FEWEST_STEPS, int((budget - CHECK) / TRIALS))
