"""How a video's heatmaps are read: the layout of their file, links that lead out, and which array of several."""

from __future__ import annotations

from gazetools.io.arrays import ArrayHeader
from gazetools.layouts.base import MEMBER_TYPES, Layout, SideMembers
from gazetools.layouts.choosing import listed
from gazetools.layouts.foreign import ForeignLayout
from gazetools.layouts.registry import foreign_layout, layout_at
from gazetools.schemas.errors import UsageError
from gazetools.schemas.video_id import check_below
from gazetools.validation.subject import Subject


def layout_of(subject: Subject) -> Layout:
    """The layout of a packed video, or that of another tool's, by the choice. DataFileError for other files."""
    return layout_at(subject.path) if subject.entry is not None else foreign_layout(subject.path, subject.choice)


def leads_out(subject: Subject) -> bool:
    """Report a file outside of the folder that was given; other commands refuse it, too."""
    if subject.root is None:
        return False
    try:
        check_below(subject.path, subject.root, subject.video_id)
    except UsageError as error:
        subject.report("link-outside", str(error))
        return True
    return False


def report_choice(subject: Subject, layout: Layout, header: ArrayHeader, where: str, members: SideMembers) -> None:
    """Say which of several arrays was read, and which were not."""
    if isinstance(layout, ForeignLayout):
        others = {name: one for name, one in layout.others(members).items() if name not in MEMBER_TYPES}
        if others:
            text = f"{where} is read, {header.dtype} {list(header.shape)} [T,H,W]; not read: {listed(others)}."
            subject.report("array-chosen", text)
