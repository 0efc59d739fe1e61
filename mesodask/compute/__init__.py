"""Dask and nothing but Dask: clusters, and a runner of plans; no analysis is known here."""
