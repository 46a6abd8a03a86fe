"""Every code that `validate` reports, with severity, cause and cure; docs/validation.md shows this table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from gazetools.schemas.downloads import egoexo_command
from gazetools.schemas.findings import Finding, Severity

_MAX_FRAMES = 100
_EXTRACT = "Run extract again for this video with --overwrite, then validate the store."
_PACK = "Run the same pack command again: videos that do not match the manifest are packed again."
_COPY = "Copy or make the file again."
_CONFIG = "Correct the config."
_NEEDLESS = "Nothing, if that is so."
_HALF = "Make them again; look for overflow in half precision."
_BY_TIMES = "Take frames by their times: extract every frame, then pack --fps."
_USE_PTS = "Use pts, never frame index / rate."


@dataclass(frozen=True)
class Code:
    """One row of the catalogue."""

    severity: Severity
    cause: str
    cure: str


_error, _warning, _note = partial(Code, "error"), partial(Code, "warning"), partial(Code, "note")

CATALOGUE: dict[str, Code] = {
    # files
    "file-unreadable": _error("The file is truncated, damaged, hostile or of another format.", _COPY),
    "checksum-mismatch": _error("The bytes are not those that were written: bit rot or an edit.", _COPY),
    "size-mismatch": _error("The file is longer or shorter than its sidecar or manifest says.", _COPY),
    "payload-missing": _error("A sidecar or a manifest entry has no file.", "Restore the file, or make it again."),
    "sidecar-missing": _error(
        "A store file without its sidecar: its writing did not finish.", "Run the same extract command again."
    ),
    "sidecar-unreadable": _error("The sidecar is not JSON of the expected form.", _EXTRACT),
    "manifest-unreadable": _error("manifest.json is damaged or of another version.", _PACK),
    "manifest-mismatch": _error("The contents of the file differ from its manifest entry.", _PACK),
    "member-missing": _error("A member other than the maps is missing, or has another type or length.", _PACK),
    "origin-missing": _error("A packed video without its .origin.json.", _PACK),
    "id-mismatch": _error("The file says that it belongs to another video.", "Undo the renaming, or make it again."),
    "bad-id": _error("The name can't be a video id (control characters, a leading '.', ...).", "Rename it."),
    "duplicate-id": _error(
        "Two files belong to one video, or their ids differ only in case.", "Remove or rename one of them."
    ),
    "duplicate-video": _warning(
        "Two ids have the same video, frame by frame, or the same maps, bit by bit: a copy under another name.",
        "Remove one of them, or correct its id; in two splits the same clip would be trained on and tested.",
    ),
    "maps-transposed": _error(
        "Maps are [T,W,H] instead of [T,H,W]: their sides are in the ratio that the video's (or other maps') have the "
        "other way round.",
        "Swap the last two axes (numpy.swapaxes(1, 2)) and make the file again; --size is HxW.",
    ),
    "unexpected-dtype": _error(
        "Maps of a type whose scale is unknown.", "Store float16, float32 or uint8 (0..255 for 0..1)."
    ),
    "unexpected-shape": _error(
        "No array is [T,H,W], [T,1,H,W], [T,H,W,1] or [H,W].",
        "Store one array of maps per video, or give the order of its axes with --axes.",
    ),
    "maps-ambiguous": _error(
        "Several arrays of a file could be the heatmaps, or the order of their axes is not clear.",
        "Choose with --key NAME or --axes ORDER; in a training config with heatmap_key and heatmap_axes.",
    ),
    "array-chosen": _note("A file has other arrays in addition to the heatmaps, which are not read.", _NEEDLESS),
    "format-not-read": _error(
        "A format that is not read, such as .pt: it holds pickled objects.", "Store the maps with numpy.savez."
    ),
    "file-not-read": _note(
        "A file of a format that is not read lies among the heatmaps.", "Nothing, unless it holds heatmaps."
    ),
    "link-outside": _error(
        "A link leads to a file outside of the folder that was given.",
        "Put the file itself there. Links of a Hugging Face cache to its own blobs are followed.",
    ),
    "frame-file-missing": _error(
        "Numbers are missing among a folder's frames, or they do not begin at 0.",
        "Make the missing frames. Where the first frame has another number than 0, give it with --first-frame.",
    ),
    "frame-file-unlike": _error("A frame's file has another shape or type than the others.", _COPY),
    "stray-file": _warning(
        "A file that belongs to no video of the store or dataset.", "Move it away, or pack its video."
    ),
    "part-left-out": _warning(
        "Links that lead nowhere or in a circle, or folders that can't be read: videos behind them are left out.",
        "Mend the links or the permissions, or remove them.",
    ),
    "unfinished-work": _warning(
        "Pieces or temporary files of a run that did not finish.", "Run the same command again."
    ),
    "mixed-sizes": _warning("Videos of one dataset have maps of different sizes.", "Pack with --size HxW."),
    "mixed-models": _warning(
        "Videos of one store come from different models, weights or options.",
        "Extract the videos that differ again with --overwrite, or keep them in a separate store.",
    ),
    "check-failed": _error(
        "A check failed with an internal error on this file.", "Run validate -v on this video and report the message."
    ),
    # values
    "nan-values": _error("Maps with NaN.", _HALF),
    "inf-values": _error("Maps with infinities.", _HALF),
    "negative-values": _error("Maps with values below 0.", "Store probabilities, not logits."),
    "above-one": _error("Maps with values above 1.", "Make them again; raw and packed maps lie in 0..1."),
    "scale-unknown": _warning(
        "Maps of another tool with values above 1: 0..255, or sums; or uint8 masks of 0 and 1, read as 0 and 1/255.",
        "Scale them to 0..1 before training; store masks as bool.",
    ),
    "zero-maps": _warning(
        "Rows that count as having a map hold only zeros.", "Find out why they were made; mark them as not valid."
    ),
    "constant-maps": _warning(
        "Maps with the same value everywhere say nothing about the gaze.", "Check the model's weights."
    ),
    "frozen-maps": _warning(
        "The same map, bit by bit, for many frames, although the frames differ or are not available.",
        "Look for a stalled decoder or a cache; extract again. Rows filled on purpose belong to --missing hold.",
    ),
    "normalisation-off": _error("Maps do not have the sum, peak or range that their normalisation gives.", _PACK),
    "nonzero-without-frame": _error("Rows that are not valid hold maps although missing is zero.", _PACK),
    "inout-out-of-range": _error("inout must be a probability in 0..1, or NaN.", "Make the file again."),
    "box-out-of-range": _error(
        "A head box is not 0 <= min < max <= 1 of its frame.", "Check the box file, then extract again."
    ),
    "prompt-unknown": _error("rows/prompt holds an unknown number.", _EXTRACT),
    # counts and time
    "frame-count-mismatch": _error(
        "The heatmaps have another number of rows than the video has decoded frames.",
        "Make the heatmaps from this very file; counts that a container declares are not counts of decoded frames.",
    ),
    "rate-mismatch": _error(
        "The row count fits the video at another rate, such as 30 taken for 29.97, or half of it; a cut is none.",
        _BY_TIMES,
    ),
    "pts-shifted": _error(
        "All rows carry the times of frames k further on: the maps are shifted by k frames.", _EXTRACT
    ),
    "pts-drift": _error(
        "The rows' times run faster or slower than the video's, so that they drift apart over the length.",
        "Take the times from the container (pts), never from a nominal rate; extract again.",
    ),
    "pts-jumps": _error(
        "From some frame on the rows carry the times of frames further on or back: frames were lost or added amid the "
        "video.",
        _EXTRACT,
    ),
    "pts-mismatch": _error("Rows carry times that their frames in the video do not have.", _EXTRACT),
    "pts-not-ascending": _error("Times go backwards, repeat, or are not finite.", _EXTRACT),
    "pts-unknown": _note(
        "Rows without a time (NaN): frames that were not processed.", "Pack again with the video available."
    ),
    "frames-not-ascending": _error("frames/index goes backwards or names a frame twice.", _EXTRACT),
    "frames-beyond-video": _error("Frames that the video does not have.", _EXTRACT),
    "rows-not-ascending": _error("Rows are not in the order of frame and track.", _EXTRACT),
    "rows-duplicated": _error("One person has two rows in one frame.", _EXTRACT),
    "rows-without-frame": _error("Rows name frames that were not processed.", _EXTRACT),
    "rows-without-track": _error("Rows name people that the store does not list.", _EXTRACT),
    "video-missing": _warning("No video of this id below --videos.", "Check the root; ids are paths below it."),
    "videos-without-heatmaps": _warning(
        "Videos below --videos that no heatmaps are of; training would take zeros for them.",
        "Extract and pack them, or move them out of the folder.",
    ),
    "videos-not-compared": _warning(
        "Videos are not where the heatmaps say: counts, times and identity were not compared.",
        "Pass --videos ROOT, the folder of the videos (ids are paths below it), or move them back.",
    ),
    "videos-unstated": _note(
        "Heatmaps of another tool do not say where their videos are: counts, times and identity were not compared.",
        "Pass --videos ROOT, the folder of the videos (ids are paths below it).",
    ),
    "videos-left-out": _note(
        "Below --videos: broken links, link loops, folders that can't be read, names that can't be ids, two files of "
        "one id.",
        "Mend what should have been compared.",
    ),
    "video-case-differs": _warning(
        "The video's name differs from the id in upper and lower case.", "Rename one of them."
    ),
    "video-unreadable": _error("The video can't be opened or decoded to its end.", "Get the video again."),
    "video-changed": _error(
        "The video is not the file that the heatmaps were made from.", "Find that file, or extract again."
    ),
    "video-count-declared": _note(
        "The container declares another number of frames than the decoder returns.", "Trust the decoded count."
    ),
    "video-packets-differ": _note(
        "The file has more or fewer packets than decoded frames: an edit list, or damage.",
        "Count decoded frames; tools that count packets number them differently.",
    ),
    "video-frames-repeated": _note(
        "Frames that repeat the previous picture: a still camera, a stalled one, or frames added to reach a rate.",
        "Check the listed frames; if frames were added, get the video at its original rate.",
    ),
    "video-starts-late": _note("The first frame's time is not 0: an edit list, or a cut.", _USE_PTS),
    "video-gaps": _note("Frames are missing in the video's clock.", _USE_PTS),
    "video-rate-varies": _note("Variable frame rate: frame index and time are not proportional.", _USE_PTS),
    "video-damaged": _warning("The video is incomplete or damaged.", "Get the video again, then extract again."),
    "video-frames-lost": _warning(
        "Frames are missing amid the video, and the structure of its file is broken there.",
        "Get the video again, then extract again; the times of all other frames are right.",
    ),
    "video-empty-chunks": _note(
        "AVI chunks without data: the recorder dropped frames and kept the clock.", "Nothing; " + _USE_PTS
    ),
    "video-hdr": _note("HDR video (PQ or HLG).", "Nothing, where its maps were made from tone-mapped pictures."),
    "video-hdr-raw": _warning(
        "Maps of an HDR video that the model saw washed out: no tone mapping was recorded.",
        "Run extract again for this video with --overwrite and without --hdr raw, then validate the store.",
    ),
    "video-wide-gamut": _note(
        "SDR video with wide primaries (BT.2020, P3): the model saw colours that are a little pale.", _NEEDLESS
    ),
    "video-colour-untagged": _note(
        "More than 8 bits without a tag of the transfer function: HDR, log or SDR can't be told apart.",
        "Look at a preview; if it is pale and grey, convert the footage to SDR or tag it, then extract again.",
    ),
    # content: --deep
    "video-differs": _error(
        "The video does not show what the fingerprints in the file show.", "Find the right video for this id."
    ),
    "content-shifted": _error(
        "Maps or fingerprints fit the frames k further on: everything is shifted by k frames.",
        "Extract again from this very file; look for a cut beginning, another decoder, or counting from 1.",
    ),
    "content-drifts": _error(
        "The shift grows over the length, with k at its start and end: frames were taken at another rate than they "
        "have.",
        _BY_TIMES,
    ),
    "content-jumps": _error(
        "From some frame on maps or fingerprints fit frames further on or back than before it: frames were lost, added "
        "or cut out amid the video or the maps.",
        "Extract again from this very file; look for frames that a recorder or a converter dropped.",
    ),
    "content-mirrored": _error("Left and right are exchanged.", "Flip video and maps alike, then make it again."),
    "content-flipped": _error("Top and bottom are exchanged.", "Store row 0 as the top row; make it again."),
    "content-turned": _error(
        "Rotated or transposed: [T,W,H] for [T,H,W], or a rotation that was not applied.", "Make it again."
    ),
    "people-swapped": _error(
        "Maps belong to other people of the frame.", "Check the track ids of the boxes, then extract again."
    ),
    "people-unstated": _warning(
        "The maps are those of one person, while the box file has several and --people does not say whose they are.",
        "Give --people ID, as in the message.",
    ),
    "maps-differ": _error(
        "The recorded model computes other maps, for these frames and for those around them.",
        "Check weights, boxes and preprocessing, then extract again.",
    ),
    "weights-differ": _warning(
        "The model given to --deep is not the recorded one; nothing was compared.",
        "Give the recorded weights.",
    ),
    "shift-not-identifiable": _note(
        "The sampled frames look like their neighbours.", "Sample more frames: a larger --deep."
    ),
    "deep-skipped": _note("The content could not be compared as --deep requests.", "Give what the message names."),
    # provenance
    "provenance-missing": _error("The file does not say where its heatmaps come from.", _EXTRACT),
    "provenance-unreadable": _error("The provenance is not of the expected form.", _EXTRACT),
    "schema-unknown": _error("The file was written by a newer gazetools.", "Upgrade gazetools."),
    "tool-version-differs": _note(
        "The file was written by another version of gazetools.", "Nothing, if the results are as expected."
    ),
    # people
    "no-heatmaps": _warning("The video has no map at all.", "Check its head boxes and the --people rule."),
    "frames-without-people": _note("Processed frames in which there was no head.", _NEEDLESS),
    "empty-prompts": _note(
        "Rows for which the model received no head box.", "Check the boxes, or use --small-heads grow."
    ),
    "gaze-outside": _note(
        "More than half of the rows have their gaze target outside the frame.", "Pack with --inout gate."
    ),
    # annotations
    "take-unusable": _warning(
        "An entry or a camera of takes.json can't be used; its videos are not checked, all others are.",
        f"Get takes.json again with: {egoexo_command('ROOT', 'metadata')}",
    ),
    "sync-offset": _warning(
        "An exo video of Ego-Exo4D and its wearer's trajectory are out of step by some frames.",
        "Leave this camera out of --heads calib and groundtruth, or get the take again.",
    ),
    "sync-first-row": _note(
        "An exo video and its trajectory are in step; which row of timesync.csv the boxes support as frame 0's.",
        "If several takes support the other row, pass it as --first-row to extract and groundtruth.",
    ),
    "sync-unknown": _note("Whether an exo video and its trajectory are in step could not be measured.", _NEEDLESS),
    "annotated-video-missing": _warning(
        "A video of the annotations has no heatmaps.", "Extract and pack it, or check its id."
    ),
    "clips-empty": _warning(
        "Annotated clips that end when they start; training leaves them out, and all others are checked.",
        "Correct their times, or leave them as they are.",
    ),
    "clips-uncovered": _warning(
        "Annotated clips without a map for each of their frames.",
        "Extract every frame of these clips, without --start and --end, and pack the video again.",
    ),
    "clips-past-end": _warning(
        "Annotated clips that begin where their video has ended: no frames of them can be had from this file.",
        "Correct the times of these rows (milliseconds or frame numbers taken for seconds, a typing error), or get the "
        "video again if its file was cut.",
    ),
    "coverage-unknown": _note(
        "The rows have no times, so that clips can't be placed.", "Give --videos, or pack with gazetools."
    ),
    # --for-training; severity of training-coverage: warning below one half, else note
    "training-config": _error("The training config can't be used.", _CONFIG),
    "training-settings": _error("Settings of the config contradict each other.", _CONFIG),
    "training-data": _error("Annotations, videos or heatmaps do not load.", "Correct the data or the config."),
    "training-coverage": _warning("Clips of the training data without heatmaps.", "Extract and pack them."),
}


def finding(code: str, message: str, *, video_id: str | None = None, frames: Iterable[int] | None = None) -> Finding:
    """A finding of `code` with the catalogue's severity and remedy; `frames` is cut to the first 100."""
    row = CATALOGUE[code]
    listed = None if frames is None else [int(frame) for frame in frames][:_MAX_FRAMES]
    return Finding(code=code, severity=row.severity, video_id=video_id, frames=listed, message=message, remedy=row.cure)
