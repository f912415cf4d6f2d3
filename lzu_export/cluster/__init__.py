"""Commands that run as jobs: in processes of this machine, or on workers of Dask distributed.

Knows nothing of models, bundles or recipes. Imports only `support` and `errors`; Dask is imported
inside functions, and `worker` and `supervisor`, which run on workers, need only the standard
library.
"""
