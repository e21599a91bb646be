"""What a benchmark method is: one way to train, with one configuration for all tasks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from lrpilot.errors import unknown_name

if TYPE_CHECKING:
    from lrpilot_bench.session import Session

Group = Literal["schedule", "default", "peer", "lrpilot", "finder", "ablation"]
GROUPS: tuple[Group, ...] = get_args(Group)
Notes = Mapping[str, Any]


@dataclass(frozen=True)
class Method:
    """One way to train any task, in one configuration.

    A method joins the benchmark by one such entry in its file's ``METHODS``.

    Attributes:
        name: short, unique, as typed in a terminal.
        title: how tables call it.
        fly: ``fly(session, **settings)`` trains the session until its budget is spent and returns
            what it wants to have on record (a picked lr, say) as plain data, or None.
        practice: one line: whose documented best practice this is, and what it says.
        group: "schedule" (hand-made, at a default lr), "default" (what a framework does unasked), "peer",
            "lrpilot", "finder" (picks an lr and trains nothing), or "ablation" (belongs to an experiment, and is
            flown nowhere else).
        settings: plain data; part of what identifies a run.
        version: raised when ``fly`` changes what it does; part of what identifies a run.
        lrs: documented default lr by the family's kind, for a method that takes one; None for one that
            takes none. A start-lr sweep multiplies it.
        families: kinds of optimizer it can train with.
        packages: importable packages that it needs.
        equal_compute: False for a method whose probes are not paid for out of its training steps; tables
            show it apart.

    Raises:
        SettingError: there is no such group.
    """

    name: str
    title: str
    fly: "Callable[..., Notes | None]"
    practice: str
    group: Group
    settings: Mapping[str, Any] = field(default_factory=dict)
    version: str = "1"
    lrs: Mapping[str, float] | None = None
    families: frozenset[str] = frozenset({"sgd", "adamw"})
    packages: tuple[str, ...] = ()
    equal_compute: bool = True

    def __post_init__(self) -> None:
        """Check what would fail only once the protocol sorts the methods."""
        if self.group not in GROUPS:
            raise unknown_name(f"The group of the method {self.name!r}", self.group, GROUPS)

    def lr_for(self, kind: str) -> float | None:
        """Its documented default lr with a family of that kind; None for a method that takes no lr."""
        return None if self.lrs is None else self.lrs[kind]

    def train(self, session: "Session") -> Notes:
        """Train the session; what it notes for the record, which is in ``session.notes`` too."""
        session.notes.update(self.fly(session, **self.settings) or {})
        return session.notes
