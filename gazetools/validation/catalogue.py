"""Every code that `validate` reports, with severity, cause and cure; docs/validation.md shows this table."""

from __future__ import annotations

from collections.abc import Iterable

from gazetools.schemas.downloads import egoexo_command
from gazetools.schemas.findings import Finding
from gazetools.validation.catalogue_rows import EXTRACT_AGAIN, NEEDLESS, Code, error, note, warning
from gazetools.validation.catalogue_videos import VIDEO_CODES

_MAX_FRAMES = 100
_PACK = "Run the same pack command again: videos that do not match the manifest are packed again."
_COPY = "Copy or make the file again."
_CONFIG = "Correct the config."
_HALF = "Make them again; look for overflow in half precision."

CATALOGUE: dict[str, Code] = {
    # files
    "file-unreadable": error("The file is truncated, damaged, hostile or of another format.", _COPY),
    "checksum-mismatch": error("The bytes are not those that were written: bit rot or an edit.", _COPY),
    "size-mismatch": error("The file is longer or shorter than its sidecar or manifest says.", _COPY),
    "payload-missing": error("A sidecar or a manifest entry has no file.", "Restore the file, or make it again."),
    "sidecar-missing": error(
        "A store file without its sidecar: its writing did not finish.", "Run the same extract command again."
    ),
    "sidecar-unreadable": error("The sidecar is not JSON of the expected form.", EXTRACT_AGAIN),
    "manifest-unreadable": error("manifest.json is damaged or of another version.", _PACK),
    "manifest-mismatch": error("The contents of the file differ from its manifest entry.", _PACK),
    "member-missing": error("A member other than the maps is missing, or has another type or length.", _PACK),
    "origin-missing": error("A packed video without its .origin.json.", _PACK),
    "id-mismatch": error("The file says that it belongs to another video.", "Undo the renaming, or make it again."),
    "bad-id": error("The name can't be a video id (control characters, a leading '.', ...).", "Rename it."),
    "duplicate-id": error(
        "Two files belong to one video, or their ids differ only in case.", "Remove or rename one of them."
    ),
    "duplicate-video": warning(
        "Two ids have the same video, frame by frame, or the same maps, bit by bit: a copy under another name.",
        "Remove one of them, or correct its id; in two splits the same clip would be trained on and tested.",
    ),
    "maps-transposed": error(
        "Maps are [T,W,H] instead of [T,H,W]: their sides are in the ratio that the video's (or other maps') have the "
        "other way round.",
        "Swap the last two axes (numpy.swapaxes(1, 2)) and make the file again; --size is HxW.",
    ),
    "unexpected-dtype": error(
        "Maps of a type whose scale is unknown.", "Store float16, float32 or uint8 (0..255 for 0..1)."
    ),
    "unexpected-shape": error(
        "No array is [T,H,W], [T,1,H,W], [T,H,W,1] or [H,W].",
        "Store one array of maps per video, or give the order of its axes with --axes.",
    ),
    "maps-ambiguous": error(
        "Several arrays of a file could be the heatmaps, or the order of their axes is not clear.",
        "Choose with --key NAME or --axes ORDER; in a training config with heatmap_key and heatmap_axes.",
    ),
    "array-chosen": note("A file has other arrays in addition to the heatmaps, which are not read.", NEEDLESS),
    "format-not-read": error(
        "A format that is not read, such as .pt: it holds pickled objects.", "Store the maps with numpy.savez."
    ),
    "file-not-read": note(
        "A file of a format that is not read lies among the heatmaps.", "Nothing, unless it holds heatmaps."
    ),
    "link-outside": error(
        "A link leads to a file outside of the folder that was given.",
        "Put the file itself there. Links of a Hugging Face cache to its own blobs are followed.",
    ),
    "frame-file-missing": error(
        "Numbers are missing among a folder's frames, or they do not begin at 0.",
        "Make the missing frames. Where the first frame has another number than 0, give it with --first-frame.",
    ),
    "frame-file-unlike": error("A frame's file has another shape or type than the others.", _COPY),
    "stray-file": warning(
        "A file that belongs to no video of the store or dataset.", "Move it away, or pack its video."
    ),
    "part-left-out": warning(
        "Links that lead nowhere or in a circle, or folders that can't be read: videos behind them are left out.",
        "Mend the links or the permissions, or remove them.",
    ),
    "unfinished-work": warning(
        "Pieces or temporary files of a run that did not finish.", "Run the same command again."
    ),
    "mixed-sizes": warning("Videos of one dataset have maps of different sizes.", "Pack with --size HxW."),
    "mixed-models": warning(
        "Videos of one store come from different models, weights or options.",
        "Extract the videos that differ again with --overwrite, or keep them in a separate store.",
    ),
    "check-failed": error(
        "A check failed with an internal error on this file.", "Run validate -v on this video and report the message."
    ),
    # values
    "nan-values": error("Maps with NaN.", _HALF),
    "inf-values": error("Maps with infinities.", _HALF),
    "tokens-not-finite": error("Scene tokens with NaN or infinities.", EXTRACT_AGAIN),
    "negative-values": error("Maps with values below 0.", "Store probabilities, not logits."),
    "above-one": error("Maps with values above 1.", "Make them again; raw and packed maps lie in 0..1."),
    "scale-unknown": warning(
        "Maps of another tool with values above 1: 0..255, or sums; or uint8 masks of 0 and 1, read as 0 and 1/255.",
        "Scale them to 0..1 before training; store masks as bool.",
    ),
    "zero-maps": warning(
        "Rows that count as having a map hold only zeros.", "Find out why they were made; mark them as not valid."
    ),
    "constant-maps": warning(
        "Maps with the same value everywhere say nothing about the gaze.", "Check the model's weights."
    ),
    "frozen-maps": warning(
        "The same map, bit by bit, for many frames, although the frames differ or are not available.",
        "Look for a stalled decoder or a cache; extract again. Rows filled on purpose belong to --missing hold.",
    ),
    "normalisation-off": error("Maps do not have the sum, peak or range that their normalisation gives.", _PACK),
    "nonzero-without-frame": error("Rows that are not valid hold maps although missing is zero.", _PACK),
    "inout-out-of-range": error("inout must be a probability in 0..1, or NaN.", "Make the file again."),
    "box-out-of-range": error(
        "A head box is not 0 <= min < max <= 1 of its frame.", "Check the box file, then extract again."
    ),
    "prompt-unknown": error("rows/prompt holds an unknown number.", EXTRACT_AGAIN),
    # counts, time and content
    **VIDEO_CODES,
    # provenance
    "provenance-missing": error("The file does not say where its heatmaps come from.", EXTRACT_AGAIN),
    "provenance-unreadable": error("The provenance is not of the expected form.", EXTRACT_AGAIN),
    "schema-unknown": error("The file was written by a newer gazetools.", "Upgrade gazetools."),
    "tool-version-differs": note(
        "The file was written by another version of gazetools.", "Nothing, if the results are as expected."
    ),
    # people
    "no-heatmaps": warning("The video has no map at all.", "Check its head boxes and the --people rule."),
    "frames-without-people": note("Processed frames in which there was no head.", NEEDLESS),
    "empty-prompts": note(
        "Rows for which the model received no head box.", "Check the boxes, or use --small-heads grow."
    ),
    "gaze-outside": note(
        "More than half of the rows have their gaze target outside the frame.", "Pack with --inout gate."
    ),
    # annotations
    "take-unusable": warning(
        "An entry or a camera of takes.json can't be used; its videos are not checked, all others are.",
        f"Get takes.json again with: {egoexo_command('ROOT', 'metadata')}",
    ),
    "sync-offset": warning(
        "An exo video of Ego-Exo4D and its wearer's trajectory are out of step by some frames.",
        "Leave this camera out of --heads calib and groundtruth, or get the take again.",
    ),
    "sync-first-row": note(
        "An exo video and its trajectory are in step; which row of timesync.csv the boxes support as frame 0's.",
        "If several takes support the other row, pass it as --first-row to extract and groundtruth.",
    ),
    "sync-unknown": note("Whether an exo video and its trajectory are in step could not be measured.", NEEDLESS),
    "annotated-video-missing": warning(
        "A video of the annotations has no heatmaps.", "Extract and pack it, or check its id."
    ),
    "clips-empty": warning(
        "Annotated clips that end when they start; training leaves them out, and all others are checked.",
        "Correct their times, or leave them as they are.",
    ),
    "clips-uncovered": warning(
        "Annotated clips without a map for each of their frames.",
        "Extract every frame of these clips, without --start and --end, and pack the video again.",
    ),
    "clips-past-end": warning(
        "Annotated clips that begin where their video has ended: no frames of them can be had from this file.",
        "Correct the times of these rows (milliseconds or frame numbers taken for seconds, a typing error), or get the "
        "video again if its file was cut.",
    ),
    "coverage-unknown": note(
        "The rows have no times, so that clips can't be placed.", "Give --videos, or pack with gazetools."
    ),
    # --for-training; severity of training-coverage: warning below one half, else note
    "training-config": error("The training config can't be used.", _CONFIG),
    "training-settings": error("Settings of the config contradict each other.", _CONFIG),
    "training-data": error("Annotations, videos or heatmaps do not load.", "Correct the data or the config."),
    "training-coverage": warning("Clips of the training data without heatmaps.", "Extract and pack them."),
}


def finding(code: str, message: str, *, video_id: str | None = None, frames: Iterable[int] | None = None) -> Finding:
    """A finding of `code` with the catalogue's severity and remedy; `frames` is cut to the first 100."""
    row = CATALOGUE[code]
    listed = None if frames is None else [int(frame) for frame in frames][:_MAX_FRAMES]
    return Finding(code=code, severity=row.severity, video_id=video_id, frames=listed, message=message, remedy=row.cure)
