"""The order of a session's rows in a raster: Rastermap's, kept in the ``/order`` group of its store."""

from pathlib import Path

import numpy as np

from mesodask import schema
from mesodask.io import stores
from mesodask.numerics.order import rastermap_order


def write_order(path: Path) -> None:
    """Compute the Rastermap order of a session store and write it into its ``/order`` group.

    Raises
    ------
    StoreError
        There is no such store.
    """
    session = stores.open_group(path, schema=schema.SESSION)
    store_order(path, *rastermap_order(session["signal"].values))


def store_order(path: Path, isort: np.ndarray, reason: str = "") -> None:
    """Write an order, and why it is not the usual one, into the ``/order`` group of a session store."""
    stores.write_group(path, "order", schema.conform({"isort": isort}, schema.ORDER, {"reason": reason}))
    stores.seal(path, "order")
