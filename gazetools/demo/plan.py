"""What one demo does: how many scenes with which statistics, how long it trains, which steps it has."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gazetools.gazemodels import model_names
from gazetools.scenes.settings import GENERATOR_VERSION, TEST_SEED, SceneSettings
from gazetools.schemas.base import nearest_name
from gazetools.schemas.demo import DemoOptions
from gazetools.schemas.errors import UsageError

PRIMARY_HORIZON_SECONDS = 1.0
ARMS = ("none", "zeros", "shuffled", "estimated", "ground_truth")
PRIMARY_ARM = "estimated"  # the arm whose difference to `none` is the answer

# Small frames, five a second: the gaze model reads at most 224 pixels, and frames cost most of the time. A keyframe a
# second, because training seeks to single clips. Short pauses between actions give more actions.
_SCENES = SceneSettings(
    width=448,
    height=252,
    fps=5,
    keyframe_every=5,
    people=(1, 2),
    participants=24,
    lead_seconds=(1.7, 2.3),
    idle_seconds=(0.3, 0.6),
    act_seconds=0.6,
)


@dataclass(frozen=True, kw_only=True)
class DemoPlan:
    """Settings that determine a demo's numbers."""

    name: str
    clips: int
    seconds: float  # length of each clip
    epochs: int
    seeds: tuple[int, ...]  # one training of every arm each
    seed: int = 0  # seed of scenes and encoder
    views: int = 4  # fixed anticipation times of each training clip
    model: str = "gazelle_tiny"
    batch_size: int = 16
    horizons: tuple[float, ...] = (0.5, 1.0, 2.0)
    held_out_participants: int = 10  # number of kitchens, the last ones, that are not in the training data
    showcase_seconds: float = 4.0  # length of the clip at full size and rate for the overlay video
    overridden: tuple[str, ...] = ()  # options of the command line that changed this plan, for printing
    scenes: SceneSettings = field(default=_SCENES)

    def __post_init__(self) -> None:
        if not 1 <= self.held_out_participants < self.scenes.participants:
            raise UsageError(f"{self.held_out_participants} of {self.scenes.participants} kitchens can't be held out.")
        if self.clips < self.scenes.participants:
            raise UsageError(
                f"--clips {self.clips}: there are {self.scenes.participants} kitchens, and the last ones are held out.",
                hint=f"Pass --clips {self.scenes.participants} or more.",
            )
        if self.seconds < 8:
            raise UsageError(
                f"--seconds {self.seconds:g}: an action needs about 3 s.", hint="Pass --seconds 8 or more."
            )

    @property
    def scene_seed(self) -> int:
        """Seed of kitchens that gazelle_tiny was neither trained nor scored on."""
        return TEST_SEED + 50_000 + self.seed

    def held_out(self, video_id: str) -> bool:
        """Whether a clip is for validation: it shows one of the last kitchens (P15 to P24 of P01..P24)."""
        first = self.scenes.participants - self.held_out_participants + 1
        return int(video_id[1:3]) >= first

    def document(self) -> dict[str, Any]:
        """The plan as JSON values; demo.json keeps it, so that a folder belongs to one plan."""
        return {
            "generator_version": GENERATOR_VERSION,
            "arms": list(ARMS),
            **{k: v for k, v in dataclasses.asdict(self).items() if k != "overridden"},
        }


DEFAULT = DemoPlan(name="default", clips=40, seconds=20.0, epochs=10, seeds=(0, 1, 2, 3))
FULL = DemoPlan(
    name="full",
    clips=72,
    seconds=30.0,
    epochs=10,
    seeds=(0, 1, 2, 3, 4),
    held_out_participants=12,
    # More kitchens to learn from, since the same objects lie at other places in each, and more unseen ones.
    scenes=dataclasses.replace(_SCENES, participants=30),
)


def plan_of(options: DemoOptions) -> DemoPlan:
    """The default or full plan with what `options` replace. Raises UsageError for a model that is no name or file."""
    model, names = options.model, model_names()
    if model is not None and model not in names and not Path(model).is_file():
        near = nearest_name(model, names)
        raise UsageError(
            f"--model {model}: there is no gaze model of that name and no file there"
            + (f"; did you mean {near}?" if near else "."),
            hint="`gazetools models` lists all; or give the path of a .safetensors file.",
        )
    given = options.model_dump(exclude={"full"}, exclude_none=True)
    words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    return dataclasses.replace(FULL if options.full else DEFAULT, **given, overridden=tuple(words))
