"""Arrays in ``.npy`` files, looked at before they are believed."""

from pathlib import Path

import numpy as np

from mesodask.errors import DataError


def read_npy(path: Path, *, ndim: int | tuple[int, ...], kind: str) -> np.ndarray:
    """Open an ``.npy`` file as a read-only memory map, checked (see :meth:`mesodask.io.alf.SessionFiles.array`)."""
    try:
        # np.load would also open archives and pickles of this name
        array = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # NumPy raises many kinds on a damaged header
        raise DataError(
            f"cannot be read as an .npy array ({error}); expected a whole file of numbers: copy it again", path
        ) from error
    whole = array.offset + array.nbytes
    if path.stat().st_size != whole:
        raise DataError(
            f"{path.stat().st_size} bytes; expected {whole} for an array of shape {array.shape} and dtype "
            f"{array.dtype}: copy the file again",
            path,
        )
    allowed = (ndim,) if isinstance(ndim, int) else ndim
    if array.ndim not in allowed:
        raise DataError(f"array of shape {array.shape}; expected {' or '.join(map(str, allowed))} dimensions", path)
    if array.dtype.kind not in kind:
        names = {"f": "floating", "i": "integer", "u": "unsigned", "b": "boolean"}
        expected = " or ".join(names[k] for k in kind)
        raise DataError(f"dtype {array.dtype}; expected {expected} numbers", path)
    return array
