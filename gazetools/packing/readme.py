"""The text of DATASET/README.md: what the dataset holds, where it comes from, how it was made, how to load it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from gazetools.heatmaps.normalise import NORMALISATIONS
from gazetools.layouts.registry import LAYOUTS
from gazetools.schemas.dataset import Manifest

README_HEADING = b"# Gaze heatmaps (gazetools)\n"


def readme(manifest: Manifest) -> str:
    """The text in Markdown; it depends on the manifest alone."""
    options, videos = manifest.options, manifest.videos.values()
    rule, layout = NORMALISATIONS[options.normalize], LAYOUTS[manifest.layout]
    rows = sum(video.t for video in videos)
    valid = sum(video.valid_frames for video in videos)
    future = any(video.uses_future for video in videos)
    sizes = ", ".join(f"{h}x{w}" for h, w in sorted({(video.h, video.w) for video in videos})) or "none"
    first = next(iter(manifest.videos), "VIDEO_ID")
    models = Counter(_model_of(video.provenance) for video in videos)
    size = f"resized to {options.size} when packing."
    if options.resize_on_load:
        size = "stored at the model's size; `HeatmapReader` resizes to the video's."
    lines = [
        *layout.front_matter(manifest, ("valid", "inout", "pts_seconds", *rule.members)),
        README_HEADING.decode().strip(),
        "",
        f"{len(videos)} videos, {rows} maps of {sizes} ({options.dtype}), {valid} computed from their own frame.",
        f"Packed by gazetools {manifest.tool_version} with the layout `{manifest.layout}`; `manifest.json` lists every",
        "video with its sha256 and provenance, `<video_id>.origin.json` has the whole provenance.",
        "",
        "## From what",
        "",
        *([f"- {count} videos: {text}" for text, count in sorted(models.items())] or ["- nothing yet"]),
        "",
        "## How",
        "",
        f"- Values: {rule.sentence.format(temperature=options.temperature)}.",
        *([f"- Undone by `{rule.formula}`, one number per row each."] if rule.members else []),
        f"- People: `{options.people}`; in/out: `{options.inout}`; rows without a map: `{options.missing}` (`valid` is "
        "False there).",
        f"- Rows: {_alignment(options.align, options.fps)}",
        *([f"- Size: {size}"] if options.size else []),
        *(["- Some maps were filled from later frames: not for anticipation."] if future else []),
        "",
        "## Load",
        "",
        "```python",
        "import gazetools",
        "",
        f'maps = gazetools.HeatmapReader("DATASET", {first!r})',
        "heatmaps = maps.read([0, 1, 2])        # float32 [3, H, W]",
        "maps.valid, maps.inout, maps.pts_seconds",
        "```",
        "",
        layout.readme(first + layout.suffix),
        "",
        "## Licence",
        "",
        "Heatmaps are data derived from the videos and from the weights of the gaze model. The licences of both",
        "(Ego4D, Ego-Exo4D and EPIC-KITCHENS need an agreement; DINOv2 and Gaze-LLE have their own) hold for this",
        "folder too: check them before you pass it on.",
        *_stated_licence(manifest),
        "",
    ]
    return "\n".join(lines)


def _stated_licence(manifest: Manifest) -> list[str]:
    """What the card of a dataset that may be published says about its own licence."""
    if manifest.layout != "hf":
        return []
    if manifest.options.license is None:
        return ["The licence of this folder is unknown: whoever made it did not state one (`--license`)."]
    return [f"Whoever made this folder states the licence `{manifest.options.license}` for it."]


def _model_of(provenance: dict[str, Any]) -> str:
    model, heads = provenance.get("model"), provenance.get("heads")
    if not isinstance(model, dict):
        return "heatmaps of another tool, converted"
    sums = ", ".join(f"{role} {value[:12]}" for role, value in sorted(model.get("weights_sha256", {}).items()))
    spec = heads.get("spec", "unknown") if isinstance(heads, dict) else "unknown"
    return f"model `{model.get('name')}` ({model.get('dtype')}; weights {sums}), head boxes `{spec.split(':')[0]}`"


def _alignment(align: str, fps: float | None) -> str:
    if fps is not None:
        return f"{fps:g} per second, each the frame nearest in time."
    return "row i is decoded frame i." if align == "video" else "processed frames only; `pts_seconds` has their times."
