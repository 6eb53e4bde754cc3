"""The book's notebooks: run with papermill, store in one normal form, check without running.

Needs the packages of the extra `book`. A stored notebook holds its outputs and, in its metadata, the fingerprints of
its own code and of each file that made them, so that stale outputs are found in milliseconds and with their cause.
"""

import lazy_loader

# Names are loaded on first use: to check notebooks takes milliseconds, to import what runs them takes seconds.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
