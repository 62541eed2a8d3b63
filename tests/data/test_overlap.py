"""Frames on both sides of a division are refused in the words of the caller."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mlpot.data.overlap import refuse_overlap
from mlpot.errors import DataError


def test_the_first_frame_on_both_sides_is_named_with_its_equal(si_frames):
    frames = [replace(frame, source=f"a#{i}") for i, frame in enumerate(si_frames[:4])]
    others = [replace(frame, source=f"b#{i}", info={"x": 1}) for i, frame in enumerate(si_frames[2:6])]
    with pytest.raises(DataError, match=r"^a#2 is b#0$"):
        refuse_overlap(frames, others, lambda frame, other: f"{frame} is {other}")


def test_other_labels_are_another_frame(si_frames):
    first = si_frames[0]
    relabelled = replace(first, energy=first.energy + 1e-3)
    refuse_overlap([first], [relabelled, *si_frames[1:3]], lambda frame, other: "no")
