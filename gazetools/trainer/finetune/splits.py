"""Training and held-out heads: groups go to one of them whole, and no group is in both."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from gazetools.schemas.errors import UsageError
from gazetools.trainer.finetune.labelled import HeadSet, LabelledHead, groups_of


def split_heads(whole: HeadSet, *, share: float, group: str, seed: int) -> tuple[HeadSet, HeadSet]:
    """(training heads, held-out heads): the groups with the smallest hashes of (seed, name) are held out.

    At least one group is held out and one is left where `share` is above 0, and a group's place depends on its name and
    the seed alone. Raises UsageError where all heads are of one group.
    """
    names = groups_of(whole.heads, group)
    ordered = sorted(set(names), key=lambda name: _drawn(name, seed))
    if share == 0:
        return whole, HeadSet()
    if len(ordered) < 2:
        raise UsageError(
            f"All {len(whole.heads)} heads are of one {group} ({ordered[0] if ordered else 'none'}), so that none "
            "can be held out.",
            hint="Give data.validation, another data.group, or data.held_out=0 to train without held-out heads.",
        )
    count = min(max(1, round(share * len(ordered))), len(ordered) - 1)
    held = set(ordered[:count])
    train = [head for head, name in zip(whole.heads, names, strict=True) if name not in held]
    return whole.chosen(train), HeadSet(heads=[h for h, n in zip(whole.heads, names, strict=True) if n in held])


def share_of_groups(whole: HeadSet, share: float, *, group: str, seed: int) -> HeadSet:
    """The heads of `share` of the groups (at least one); a smaller share is part of every larger one."""
    names = groups_of(whole.heads, group)
    ordered = sorted(set(names), key=lambda name: _drawn(name, seed + 1))
    kept = set(ordered[: max(1, round(share * len(ordered)))])
    return whole.chosen(head for head, name in zip(whole.heads, names, strict=True) if name in kept)


def refuse_leaks(train: Sequence[LabelledHead], held_out: Sequence[LabelledHead], group: str) -> None:
    """Raise UsageError where a video, a picture or (splitting by person) a person is in both."""
    asked = {
        "video": (lambda head: head.video, "videos"),
        "picture": (lambda head: f"{head.place.path}#{head.place.frame}", "pictures"),
    }
    if group == "person":  # people of one video are then allowed on both sides
        asked = {"person": (lambda head: head.person, "persons")}
    for key, plural in asked.values():
        shared = {key(head) for head in train} & {key(head) for head in held_out}
        if shared:
            first = ", ".join(sorted(shared)[:3])
            raise UsageError(
                f"{len(shared)} {plural} are in the training and in the held-out heads: {first}.",
                hint="Divide the labels by videos, or leave data.validation out and set data.held_out.",
            )


def _drawn(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\n{name}".encode()).digest()
