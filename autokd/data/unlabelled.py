"""Pictures without labels that are added to the training part: which of them may be."""

from __future__ import annotations

import numpy as np

from autokd.data.packfile import Pack
from autokd.data.sources import UNLABELLED
from autokd.errors import UserError


def added(
    pack: Pack, together: np.ndarray, train: np.ndarray, validation: np.ndarray, test: np.ndarray
) -> np.ndarray:
    """The rows ``[n]`` of the pack's pictures without labels that are none of the data's own rows
    in use, pixel by pixel, and belong to no group of validation and test pictures.

    ``together``: ``[N]``, the group of each picture. Raises :class:`UserError` where none is left.
    """
    rows = pack.rows(UNLABELLED)
    if not len(rows):
        return rows
    held = np.concatenate([validation, test])
    own = np.concatenate([train, held])
    left = rows[~_known(pack, rows, own) & ~np.isin(together[rows], together[held])]
    if not len(left):
        raise UserError(
            f"data/unlabelled: all of its {len(rows):,} pictures are those of the data itself"
        )
    return left


def _known(pack: Pack, rows: np.ndarray, own: np.ndarray) -> np.ndarray:
    """``[n]`` bool: which of these are equal to one of ``own``. Sums of the pixels, which the pack
    has, say where it is worth to look.
    """
    moments = np.concatenate([pack.sizes, pack.sums.reshape(len(pack.sums), -1)], 1, dtype=float)
    keys = np.unique(moments, axis=0, return_inverse=True)[1].reshape(-1)
    alike: dict[int, list[int]] = {}
    for row in own[np.isin(keys[own], keys[rows])]:
        alike.setdefault(int(keys[row]), []).append(int(row))
    starts = pack.starts
    lengths = pack.sizes.prod(1, dtype=np.int64) * pack.channels

    def pixels(row: int) -> np.ndarray:
        return pack.flat[starts[row] : starts[row] + lengths[row]]

    return np.array(
        [
            any(np.array_equal(pixels(int(row)), pixels(o)) for o in alike.get(int(keys[row]), []))
            for row in rows
        ],
        dtype=bool,
    )
