"""The trainings of a study on a Ray cluster, one task per seed, all in one run folder.

    python examples/ray_seeds.py study.yaml --seeds 0 1 2 3 4 --gpus 1 --address 10.0.0.1:6379

The seeds are those of the config (seeds: 5 has 0 to 4); all nodes see config, data and run folder under the same paths.
A task whose process or node is lost starts again where its last checkpoint is, twice; after that the same command with
its seed alone goes on with it. Prints one line per seed; the exit code is the highest of `gazetools train`'s.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

_LOST = 4
"""Exit code of a task that was lost more often than Ray may start it."""


def train_seed(folder: str, config: str, overrides: list[str], seed: int) -> tuple[int, str]:
    """Exit code and status of one training, in a process of Ray's; `folder` is where the command was given."""
    from gazetools import GazetoolsError
    from gazetools.trainer import train

    os.chdir(folder)
    try:
        result = train(config, overrides=overrides, only_seed=seed)
    except GazetoolsError as error:
        return int(error.exit_code), str(error)
    return int(result.exit_code), result.status


def main() -> int:
    parser = argparse.ArgumentParser(description="Train the seeds of a study on a Ray cluster.")
    parser.add_argument("config")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--seeds", nargs="+", type=int, required=True)
    parser.add_argument("--address", default=os.environ.get("RAY_ADDRESS", "auto"), help="HOST:PORT, or auto on a node")
    parser.add_argument("--cpus", type=int, default=1, help="CPUs of each training, also its number of threads")
    parser.add_argument("--gpus", type=int, default=0, help="GPUs of each training")
    given = parser.parse_intermixed_args()

    # Whoever reaches a port of a cluster without tokens can run code as you.
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    ray.init(address=given.address)
    task: Any = ray.remote(num_cpus=given.cpus, num_gpus=given.gpus, max_calls=1, max_retries=2)(train_seed)
    config = str(Path(given.config).resolve())
    started = {seed: task.remote(str(Path.cwd()), config, given.overrides, seed) for seed in given.seeds}
    codes = []
    for seed, future in started.items():
        try:
            code, said = ray.get(future)
        except ray.exceptions.RayError as error:
            code, said = _LOST, f"lost ({type(error).__name__}); --seeds {seed} goes on with it"
        codes.append(code)
        print(f"seed {seed}: {said} (exit {code})", flush=True)
    return max(codes)


if __name__ == "__main__":
    raise SystemExit(main())
