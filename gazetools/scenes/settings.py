"""Settings of the synthetic kitchens: size, people, places and the statistics of gaze and action."""

from __future__ import annotations

from dataclasses import dataclass

from gazetools.schemas.errors import UsageError

GENERATOR_VERSION = 2
"""Raised by every change to a picture or its truth; the scores of `gazelle_tiny` belong to one version."""
TEST_SEED = 1_000_000
"""First of the seeds for tests and scores; training uses only smaller ones."""

WIDTH, HEIGHT, FPS = 796, 448, 30
NOUNS = ("cup", "bowl", "bottle", "apple", "pan", "plate", "jar", "kettle")
VERBS = ("take", "put")

Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class SceneSettings:
    """Settings of one set of kitchens; draws from a range are uniform."""

    width: int = WIDTH
    """Width of the pictures in pixels."""
    height: int = HEIGHT
    """Height of the pictures in pixels."""
    fps: int = FPS
    keyframe_every: int | None = None
    """Frames from one keyframe to the next; None: the encoder's 250. With fewer, seeking is faster."""
    people: tuple[int, int] = (1, 3)
    """Least and greatest number of people in a clip."""
    participants: int = 4
    """Number of kitchens (P01, P02, ...), which the clips use in turn; a kitchen keeps its places and light."""
    place_habit: float = 0.9
    """Probability that a noun lies at its usual place, the same in all kitchens. With 1 the place determines the noun,
    with 0 every kitchen has its own places."""
    place_jitter: float = 0.04
    """Largest distance in metres between an object and its place, along each axis."""
    p_gaze_precedes: float = 0.85
    """Probability that person 1 looks at an action's object, beginning `lead_seconds` before the action."""
    p_misleading: float = 0.1
    """Probability of a look at another object in that time; in the remaining cases the look goes to no object."""
    lead_seconds: Range = (1.8, 2.4)
    """Time between the beginning of that look and the action."""
    idle_seconds: Range = (0.3, 1.0)
    """Time of free looks between an action and the look before the next one."""
    reach_seconds: float = 0.4
    """Time before an action in which the hand moves to the object; the eyes are on the object, too."""
    act_seconds: float = 0.8
    """Length of an action."""
    p_outside: float = 0.12
    """Share of free looks that leave the frame."""

    def __post_init__(self) -> None:
        if self.width < 32 or self.height < 32 or self.width % 2 or self.height % 2:
            raise UsageError(f"A scene of {self.width}x{self.height} pixels: both must be even and 32 or more.")
        if not 1 <= self.fps <= 120 or (self.keyframe_every is not None and self.keyframe_every < 1):
            every = self.keyframe_every
            raise UsageError(f"fps={self.fps}, keyframe_every={every}: give 1 to 120 fps, 1 or more frames.")
        if not 1 <= self.people[0] <= self.people[1] <= 3:
            raise UsageError(f"people={self.people}: give (fewest, most) in 1..3.")
        for name in ("place_habit", "p_gaze_precedes", "p_misleading", "p_outside"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name}={getattr(self, name)} is a probability and must lie in 0..1.")
        if self.p_gaze_precedes + self.p_misleading > 1:
            raise UsageError(
                f"p_gaze_precedes={self.p_gaze_precedes} and p_misleading={self.p_misleading} add up to more than 1.",
                hint="They are shares of the same looks; lower one of them.",
            )
        for name in ("lead_seconds", "idle_seconds"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise UsageError(f"{name}=({low}, {high}): give (shortest, longest), both above 0.")
        if (reach := self.reach_seconds) >= (lead := self.lead_seconds[0]):
            raise UsageError(f"reach_seconds={reach} must be shorter than the shortest lead, {lead} s.")
        if not 1 <= self.participants <= 99:
            raise UsageError(f"participants={self.participants}: 1 to 99.")

    @property
    def aspect(self) -> float:
        """Width over height."""
        return self.width / self.height

    @property
    def chance_noun_accuracy(self) -> float:
        """Accuracy of a random guess: nouns are drawn uniformly and independently."""
        return 1 / len(NOUNS)

    @property
    def achievable_noun_accuracy(self) -> float:
        """Accuracy of naming the object looked at with perfect knowledge of gaze, before the hand moves."""
        elsewhere = 1 - self.p_gaze_precedes - self.p_misleading
        return self.p_gaze_precedes + elsewhere * self.chance_noun_accuracy
