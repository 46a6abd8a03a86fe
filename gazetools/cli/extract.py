"""`gazetools extract`: video to raw heatmaps."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from gazetools.cli.common import TERMINAL, ConfigOption, JsonOption, sigterm_as_interrupt
from gazetools.cli.extract_engines import slurm_shard
from gazetools.cli.extract_tables import show_plan, show_report
from gazetools.schemas.heads import DEFAULT_POSE

_VIDEO, _MODEL, _RUN, _SCALE = "Which frames and people", "Model", "Run", "Many videos and machines"


def extract_command(
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT...", help="Files, folders, globs, @list.txt or an Ego-Exo4D root.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Store folder; made if needed.")],
    heads: Annotated[
        str,
        typer.Option(
            help="file:PATH (CSV, or a folder matched by video id), detect[:NAME] (rtdetr, dfine, yunet, OWNER/MODEL "
            "of the hub, a model folder or a YuNet .onnx), calib (the wearer of an Ego-Exo4D take) or whole (no box).",
            rich_help_panel=_VIDEO,
        ),
    ] = "whole",
    people: Annotated[
        str, typer.Option(help="all, largest, wearer, or track ids such as 1,2.", rich_help_panel=_VIDEO)
    ] = "all",
    takes: Annotated[
        str | None, typer.Option(help="Ego-Exo4D root: take names, uids or patterns.", rich_help_panel=_VIDEO)
    ] = None,
    cameras: Annotated[
        str | None, typer.Option(help="Ego-Exo4D root: such as cam01,cam02.", rich_help_panel=_VIDEO)
    ] = None,
    views: Annotated[str, typer.Option(help="Ego-Exo4D root: exo, ego or exo,ego.", rich_help_panel=_VIDEO)] = "exo",
    heads_first_frame: Annotated[
        int | None, typer.Option(help="Frame of the first row of a headerless box file.", rich_help_panel=_VIDEO)
    ] = None,
    small_heads: Annotated[
        str, typer.Option(help="Heads below one cell of the model's grid: grow, crop or none.", rich_help_panel=_VIDEO)
    ] = "grow",
    fill_gaps: Annotated[
        int, typer.Option(help="Interpolate boxes over up to so many missing frames.", rich_help_panel=_VIDEO)
    ] = 0,
    pose: Annotated[
        str, typer.Option(help="detect: ViTPose for the keypoints, OWNER/MODEL or a folder.", rich_help_panel=_VIDEO)
    ] = DEFAULT_POSE,
    detect_score: Annotated[
        float, typer.Option(help="detect: a person is taken up from this score on.", rich_help_panel=_VIDEO)
    ] = 0.5,
    detect_every: Annotated[
        int, typer.Option(help="detect: look at every N-th frame (with --fill-gaps).", rich_help_panel=_VIDEO)
    ] = 1,
    fps: Annotated[
        float | None, typer.Option(help="Process the frames nearest to this rate.", rich_help_panel=_VIDEO)
    ] = None,
    stride: Annotated[
        int | None, typer.Option(help="Process every N-th decoded frame.", rich_help_panel=_VIDEO)
    ] = None,
    start: Annotated[float | None, typer.Option(help="First time in seconds (pts).", rich_help_panel=_VIDEO)] = None,
    end: Annotated[
        float | None, typer.Option(help="End time in seconds (pts), not included.", rich_help_panel=_VIDEO)
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            help="gazelle_dinov2_{vitb14,vitl14}[_inout], the path of a self-describing .safetensors, centre-prior, "
            "head-direction or a registered name.",
            rich_help_panel=_MODEL,
        ),
    ] = "gazelle_dinov2_vitb14_inout",
    checkpoint: Annotated[str | None, typer.Option(help="Weights of the model.", rich_help_panel=_MODEL)] = None,
    backbone: Annotated[
        str | None, typer.Option(help="DINOv2 weights, where the checkpoint has none.", rich_help_panel=_MODEL)
    ] = None,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.", rich_help_panel=_MODEL)] = "auto",
    backend: Annotated[
        str, typer.Option(help="gazetools, or upstream: an importable package gazelle.", rich_help_panel=_MODEL)
    ] = "gazetools",
    preprocess: Annotated[
        str, typer.Option(help="exact, or fast (within one level of 255).", rich_help_panel=_MODEL)
    ] = "exact",
    device: Annotated[
        str,
        typer.Option(
            help="auto, cpu, cuda or cuda:N; several like cuda:0,cuda:1 give one worker process each.",
            rich_help_panel=_RUN,
        ),
    ] = "auto",
    shard: Annotated[
        str | None,
        typer.Option(
            help="I/N, I from 1: the I-th of N balanced shares. In a Slurm array I and N come from the environment.",
            rich_help_panel=_SCALE,
        ),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            help="local, slurm (a job array; with --dry-run its script) or ray (actors of a cluster).",
            rich_help_panel=_SCALE,
        ),
    ] = "local",
    slurm: Annotated[
        list[str] | None,
        typer.Option(
            "--slurm",
            metavar="KEY=VALUE",
            help="jobs, parallel, minutes, requeues, partition, account, gpus, cpus, memory, setup; may be repeated.",
            rich_help_panel=_SCALE,
        ),
    ] = None,
    ray: Annotated[
        list[str] | None,
        typer.Option(
            "--ray",
            metavar="KEY=VALUE",
            help="address (HOST:PORT, auto, local), workers, cpus, gpus, wait_seconds; may be repeated.",
            rich_help_panel=_SCALE,
        ),
    ] = None,
    decode_timeout: Annotated[
        float, typer.Option(help="Seconds to wait for a frame before its decoder is killed.", rich_help_panel=_SCALE)
    ] = 60.0,
    decode_memory: Annotated[
        float | None, typer.Option(help="GiB of address space for a decoding process.", rich_help_panel=_SCALE)
    ] = None,
    decode_threads: Annotated[
        int, typer.Option(help="Threads of a decoding process; 0 = one per core.", rich_help_panel=_SCALE)
    ] = 0,
    profile: Annotated[
        bool, typer.Option("--profile", help="Show where the time went and the bottleneck.", rich_help_panel=_RUN)
    ] = False,
    batch_size: Annotated[str, typer.Option(help="auto or a number of frames.", rich_help_panel=_RUN)] = "auto",
    allow_damaged: Annotated[
        bool, typer.Option("--allow-damaged", help="Take what decodes of broken files.", rich_help_panel=_RUN)
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace results made with other options.", rich_help_panel=_RUN)
    ] = False,
    check_space: Annotated[
        bool,
        typer.Option(
            help="Begin only with room for what will probably come, and each video only with room for it. Off for "
            "disks that compress, or whose free space is not what they say.",
            rich_help_panel=_RUN,
        ),
    ] = True,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="List videos, box files and the space needed; do nothing.", rich_help_panel=_RUN
        ),
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Turn videos into raw gaze heatmaps, one store file per video. The same command resumes an interrupted run.

    Example: gazetools extract clip.mp4 -o store --heads file:boxes.csv --checkpoint gazelle.pt

    Example: gazetools extract videos -o store --device cuda:0,cuda:1 --profile
    """
    from gazetools.engines.registry import ENGINES, engine_settings
    from gazetools.extraction.disk_estimate import estimate_space
    from gazetools.extraction.run import decode_settings, plan
    from gazetools.io.space import free_space
    from gazetools.schemas.base import parse_settings
    from gazetools.schemas.extract import ExtractOptions

    options = parse_settings(
        ExtractOptions,
        {
            "heads": heads,
            "people": people,
            "takes": takes,
            "cameras": cameras,
            "views": views,
            "heads_first_frame": heads_first_frame,
            "small_heads": small_heads,
            "fill_gaps": fill_gaps,
            "pose": pose,
            "detect_score": detect_score,
            "detect_every": detect_every,
            "preprocess": preprocess,
            "backend": backend,
            "fps": fps,
            "stride": stride,
            "start": start,
            "end": end,
            "model": model,
            "checkpoint": checkpoint,
            "backbone": backbone,
            "dtype": dtype,
            "device": device,
            "engine": engine,
            "shard": shard or (slurm_shard() if engine == "local" else None),
            "decode_timeout": decode_timeout,
            "decode_memory": decode_memory,
            "decode_threads": decode_threads,
            "batch_size": int(batch_size) if batch_size.lstrip("-").isdigit() else batch_size,
            "allow_damaged": allow_damaged,
            "overwrite": overwrite,
            "check_space": check_space,
        },
        what="extract",
    )
    engine_used = ENGINES[options.engine]
    settings = engine_settings(options.engine, {"slurm": slurm or [], "ray": ray or []})
    if dry_run and engine_used.has_script:
        plan(inputs, options)
        script = engine_used.script(inputs, output, options, settings)
        TERMINAL.emit({"sbatch": script})
        if not as_json:
            sys.stdout.write(script)
        return 0
    if dry_run:
        items, head_files = plan(inputs, options)
        with TERMINAL.progress() as progress:
            usable = [item for item in items if item.problem is None]
            estimate = estimate_space(
                usable, output, options, head_files, workers=len(options.devices),
                decoding=decode_settings(options), progress=progress,
            )  # fmt: skip
        show_plan(items, head_files, heads=options.heads, estimate=estimate, free=free_space(output))
        return int(any(item.problem is not None for item in items))
    with sigterm_as_interrupt(), TERMINAL.progress() as progress:
        report = engine_used.run(inputs, output, options, settings, progress)
    show_report(report, output, profile=profile)
    return report.exit_code
