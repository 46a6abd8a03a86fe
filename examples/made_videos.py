"""Short made-up videos of people in kitchens, with head boxes and annotated actions, to try things on.

python examples/made_videos.py own
"""

from __future__ import annotations

import argparse
from pathlib import Path

from gazetools.scenes.clips import render_scenes
from gazetools.scenes.settings import SceneSettings


def main() -> None:
    """Render 12 videos of 16 s into the folder that is given: `videos/`, `heads/` and `actions.csv`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    settings = SceneSettings(width=320, height=180, fps=5, keyframe_every=5, people=(1, 1), participants=12)
    render_scenes(parser.parse_args().folder, clips=12, seconds=16.0, seed=3, settings=settings)


if __name__ == "__main__":
    main()
