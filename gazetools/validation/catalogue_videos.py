"""The codes about videos: counts, times, and the content that `--deep` compares."""

from __future__ import annotations

from gazetools.validation.catalogue_rows import EXTRACT_AGAIN, NEEDLESS, Code, error, note, warning

_BY_TIMES = "Take frames by their times: extract every frame, then pack --fps."
_USE_PTS = "Use pts, never frame index / rate."

VIDEO_CODES: dict[str, Code] = {
    # counts and time
    "frame-count-mismatch": error(
        "The heatmaps have another number of rows than the video has decoded frames.",
        "Make the heatmaps from this very file; counts that a container declares are not counts of decoded frames.",
    ),
    "rate-mismatch": error(
        "The row count fits the video at another rate, such as 30 taken for 29.97, or half of it; a cut is none.",
        _BY_TIMES,
    ),
    "pts-shifted": error(
        "All rows carry the times of frames k further on: the maps are shifted by k frames.", EXTRACT_AGAIN
    ),
    "pts-drift": error(
        "The rows' times run faster or slower than the video's, so that they drift apart over the length.",
        "Take the times from the container (pts), never from a nominal rate; extract again.",
    ),
    "pts-jumps": error(
        "From some frame on the rows carry the times of frames further on or back: frames were lost or added amid the "
        "video.",
        EXTRACT_AGAIN,
    ),
    "pts-mismatch": error("Rows carry times that their frames in the video do not have.", EXTRACT_AGAIN),
    "pts-not-ascending": error("Times go backwards, repeat, or are not finite.", EXTRACT_AGAIN),
    "pts-unknown": note(
        "Rows without a time (NaN): frames that were not processed.", "Pack again with the video available."
    ),
    "frames-not-ascending": error("frames/index goes backwards or names a frame twice.", EXTRACT_AGAIN),
    "frames-beyond-video": error("Frames that the video does not have.", EXTRACT_AGAIN),
    "rows-not-ascending": error("Rows are not in the order of frame and track.", EXTRACT_AGAIN),
    "rows-duplicated": error("One person has two rows in one frame.", EXTRACT_AGAIN),
    "rows-without-frame": error("Rows name frames that were not processed.", EXTRACT_AGAIN),
    "rows-without-track": error("Rows name people that the store does not list.", EXTRACT_AGAIN),
    "video-missing": warning("No video of this id below --videos.", "Check the root; ids are paths below it."),
    "videos-without-heatmaps": warning(
        "Videos below --videos that no heatmaps are of; training would take zeros for them.",
        "Extract and pack them, or move them out of the folder.",
    ),
    "videos-not-compared": warning(
        "Videos are not where the heatmaps say: counts, times and identity were not compared.",
        "Pass --videos ROOT, the folder of the videos (ids are paths below it), or move them back.",
    ),
    "videos-unstated": note(
        "Heatmaps of another tool do not say where their videos are: counts, times and identity were not compared.",
        "Pass --videos ROOT, the folder of the videos (ids are paths below it).",
    ),
    "videos-left-out": note(
        "Below --videos: broken links, link loops, folders that can't be read, names that can't be ids, two files of "
        "one id.",
        "Mend what should have been compared.",
    ),
    "video-case-differs": warning(
        "The video's name differs from the id in upper and lower case.", "Rename one of them."
    ),
    "video-unreadable": error("The video can't be opened or decoded to its end.", "Get the video again."),
    "video-changed": error(
        "The video is not the file that the heatmaps were made from.", "Find that file, or extract again."
    ),
    "video-count-declared": note(
        "The container declares another number of frames than the decoder returns.", "Trust the decoded count."
    ),
    "video-packets-differ": note(
        "The file has more or fewer packets than decoded frames: an edit list, or damage.",
        "Count decoded frames; tools that count packets number them differently.",
    ),
    "video-frames-repeated": note(
        "Frames that repeat the previous picture: a still camera, a stalled one, or frames added to reach a rate.",
        "Check the listed frames; if frames were added, get the video at its original rate.",
    ),
    "video-starts-late": note("The first frame's time is not 0: an edit list, or a cut.", _USE_PTS),
    "video-gaps": note("Frames are missing in the video's clock.", _USE_PTS),
    "video-rate-varies": note("Variable frame rate: frame index and time are not proportional.", _USE_PTS),
    "video-damaged": warning("The video is incomplete or damaged.", "Get the video again, then extract again."),
    "video-frames-lost": warning(
        "Frames are missing amid the video, and the structure of its file is broken there.",
        "Get the video again, then extract again; the times of all other frames are right.",
    ),
    "video-empty-chunks": note(
        "AVI chunks without data: the recorder dropped frames and kept the clock.", "Nothing; " + _USE_PTS
    ),
    "video-files-left-out": note(
        "A folder of frames has other files next to them.", "Nothing, if they are no frames; else number them."
    ),
    "video-hdr": note("HDR video (PQ or HLG).", "Nothing, where its maps were made from tone-mapped pictures."),
    "video-hdr-raw": warning(
        "Maps of an HDR video that the model saw washed out: no tone mapping was recorded.",
        "Run extract again for this video with --overwrite and without --hdr raw, then validate the store.",
    ),
    "video-wide-gamut": note(
        "SDR video with wide primaries (BT.2020, P3): the model saw colours that are a little pale.", NEEDLESS
    ),
    "video-colour-untagged": note(
        "More than 8 bits without a tag of the transfer function: HDR, log or SDR can't be told apart.",
        "Look at a preview; if it is pale and grey, convert the footage to SDR or tag it, then extract again.",
    ),
    # content: --deep
    "video-differs": error(
        "The video does not show what the fingerprints in the file show.", "Find the right video for this id."
    ),
    "content-shifted": error(
        "Maps or fingerprints fit the frames k further on: everything is shifted by k frames.",
        "Extract again from this very file; look for a cut beginning, another decoder, or counting from 1.",
    ),
    "content-drifts": error(
        "The shift grows over the length, with k at its start and end: frames were taken at another rate than they "
        "have.",
        _BY_TIMES,
    ),
    "content-jumps": error(
        "From some frame on maps or fingerprints fit frames further on or back than before it: frames were lost, added "
        "or cut out amid the video or the maps.",
        "Extract again from this very file; look for frames that a recorder or a converter dropped.",
    ),
    "content-mirrored": error("Left and right are exchanged.", "Flip video and maps alike, then make it again."),
    "content-flipped": error("Top and bottom are exchanged.", "Store row 0 as the top row; make it again."),
    "content-turned": error(
        "Rotated or transposed: [T,W,H] for [T,H,W], or a rotation that was not applied.", "Make it again."
    ),
    "people-swapped": error(
        "Maps belong to other people of the frame.", "Check the track ids of the boxes, then extract again."
    ),
    "people-unstated": warning(
        "The maps are those of one person, while the box file has several and --people does not say whose they are.",
        "Give --people ID, as in the message.",
    ),
    "maps-differ": error(
        "The recorded model computes other maps, for these frames and for those around them.",
        "Check weights, boxes and preprocessing, then extract again.",
    ),
    "weights-differ": warning(
        "The model given to --deep is not the recorded one; nothing was compared.",
        "Give the recorded weights.",
    ),
    "shift-not-identifiable": note(
        "The sampled frames look like their neighbours.", "Sample more frames: a larger --deep."
    ),
    "deep-skipped": note("The content could not be compared as --deep requests.", "Give what the message names."),
}
