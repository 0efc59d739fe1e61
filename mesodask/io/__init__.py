"""The outside world <-> labelled arrays: ALF files, cluster-UID files, atlas names, Zarr stores."""
