"""Arrays in, arrays out: the mathematics of mesodask.

Nothing here knows Dask, xarray, Zarr, pandas, ONE or matplotlib, and nothing of mesodask is imported but its errors.
"""
