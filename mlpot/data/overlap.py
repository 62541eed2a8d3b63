"""No frame may lie on both sides of a division: errors on what was trained on are no errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mlpot.data.frame import Frame
from mlpot.errors import DataError


def refuse_overlap(
    frames: Sequence[Frame], others: Sequence[Frame], message: Callable[[str, str], str]
) -> None:
    """Refuse frames that are also among others: the same structure with the same labels.

    Parameters
    ----------
    frames, others
        The two sides.
    message
        Returns the text of the error from the sources (``file#index``) of the frame and of its equal.

    Raises
    ------
    DataError
        For the first frame that is on both sides.
    """
    known = {other.content_hash: other.source for other in others}
    for frame in frames:
        if frame.content_hash in known:
            raise DataError(message(frame.source, known[frame.content_hash]))
