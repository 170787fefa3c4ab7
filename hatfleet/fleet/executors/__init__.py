"""Where the batches of a run are worked on: in processes of this machine, or on a Dask cluster."""
