"""Matrices of vectors as memory-mapped arrays: float32, float16, or int8 with one scale a row."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from handler.errors import BundleError

Storage = Literal["int8", "float16", "float32"]
STORAGES: tuple[Storage, ...] = get_args(Storage)

#: Rows converted at a time, as a matrix may fill half of the memory.
_BLOCK = 1 << 15


class VectorTable:
    """N vectors of width D."""

    def __init__(self, table: npt.NDArray[Any], scales: npt.NDArray[np.float32] | None) -> None:
        self._table = table
        self._scales = scales

    def __len__(self) -> int:
        return int(self._table.shape[0])

    @property
    def dim(self) -> int:
        """D, the width of a vector."""
        return int(self._table.shape[1])

    @property
    def storage(self) -> str:
        """The element type, one of ``STORAGES``."""
        return str(self._table.dtype)

    @property
    def arrays(self) -> list[npt.NDArray[Any]]:
        """The elements (N, D) and, for int8, the scales (N,)."""
        return [self._table] if self._scales is None else [self._table, self._scales]

    @classmethod
    def new(cls, vectors: npt.NDArray[np.floating[Any]], storage: Storage) -> VectorTable:
        """*vectors* (N, D) stored as *storage*; float32 to float32 is not copied.

        int8 is symmetric quantisation with one scale a row: the largest element of each vector becomes 127.

        Raises:
            ValueError: *vectors* has not two axes, or a value that *storage* cannot represent.
        """
        if vectors.ndim != 2:
            raise ValueError(f"expected vectors (N, D), got an array of shape {vectors.shape}")
        if storage == "float32":
            table: npt.NDArray[Any] = np.ascontiguousarray(vectors, np.float32)
        else:
            table = np.empty(vectors.shape, storage)
        scales = np.empty(len(vectors), np.float32) if storage == "int8" else None
        for start in range(0, len(vectors), _BLOCK):
            rows = slice(start, start + _BLOCK)
            block = vectors[rows]
            if not np.isfinite(block).all():
                raise ValueError("expected finite vectors, got NaN or infinity")
            if scales is not None:
                scales[rows] = np.abs(block).max(axis=1, initial=0).astype(np.float32) / np.float32(127)
                safe = np.where(scales[rows] == 0, np.float32(1), scales[rows])
                table[rows] = np.rint(block / safe[:, None]).clip(-127, 127).astype(np.int8)
            elif storage == "float16":
                largest = np.abs(block).max(initial=0)
                if largest > np.finfo(np.float16).max:
                    raise ValueError(f"expected values within float16's range of 65504, got {largest:g}")
                table[rows] = block
        return cls(table, scales)

    @classmethod
    def load(cls, folder: Path, names: tuple[str, str]) -> VectorTable:
        """Map the table and, for int8, its scales from the files *names* in *folder*; raises BundleError."""
        table = open_array(folder / f"{names[0]}.npy")
        if table.ndim != 2 or str(table.dtype) not in STORAGES:
            raise BundleError(
                f"vectors/{names[0]}.npy: expected (N, D) of {' or '.join(STORAGES)},"
                f" got {table.shape} of {table.dtype}"
            )
        if table.dtype != np.int8:
            _check_finite(names[0], table)
            return cls(table, None)
        scales = open_row(folder / f"{names[1]}.npy", np.float32)
        if len(scales) != len(table):
            raise BundleError(f"vectors/{names[1]}.npy: expected {len(table)} scales, got {len(scales)}")
        _check_finite(names[1], scales)
        return cls(table, scales)

    def save(self, folder: Path, names: tuple[str, str]) -> None:
        """Write the files that :meth:`load` reads; the same vectors give the same bytes."""
        for name, array in zip(names, self.arrays, strict=False):
            np.save(folder / f"{name}.npy", array, allow_pickle=False)

    def take(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Vectors of *rows*: (W,) -> (W, D)."""
        # asarray, as indexing an np.memmap makes another one, which is slow
        vectors: npt.NDArray[np.float32] = np.asarray(self._table)[rows].astype(np.float32, copy=False)
        return vectors if self._scales is None else vectors * np.asarray(self._scales)[rows, None]


def _check_finite(name: str, array: npt.NDArray[Any]) -> None:
    """Raise BundleError if a number of *array*, from a file of that *name*, is NaN or infinite."""
    for start in range(0, len(array), _BLOCK):
        if not np.isfinite(array[start : start + _BLOCK]).all():
            raise BundleError(f"vectors/{name}.npy: expected finite numbers, got NaN or infinity")


def open_array(path: Path) -> npt.NDArray[Any]:
    """The memory-mapped array in *path*, a file of a bundle's ``vectors/``; raises BundleError without one."""
    try:
        array = np.lib.format.open_memmap(path, mode="r")  # a header that says more than there is makes it fail
        num_bytes = path.stat().st_size
    except FileNotFoundError as error:
        raise BundleError(f"vectors/{path.name}: missing") from error
    except (OSError, ValueError, EOFError, OverflowError) as error:
        raise BundleError(f"vectors/{path.name}: expected a plain .npy array: {error}") from error
    if num_bytes != array.offset + array.nbytes:
        raise BundleError(f"vectors/{path.name}: expected {array.offset + array.nbytes} bytes, got {num_bytes}")
    return array


def open_row(path: Path, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """The same with one axis, of *dtype*; raises BundleError for another."""
    array = open_array(path)
    if array.ndim != 1 or array.dtype != dtype:
        raise BundleError(
            f"vectors/{path.name}: expected one axis of {np.dtype(dtype)}, got {array.shape} of {array.dtype}"
        )
    return array
