"""Many images with one set of parameters: on one machine or a Dask cluster, surviving bad files and broken runs."""
