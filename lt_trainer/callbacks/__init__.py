"""Callbacks: the events of a run, early stopping, progress, reports, and the bridge from Lightning's hooks to them."""

# The folder is also linked from the top of the repository, for people who extend it. Imported from there, each class
# would exist twice and isinstance would fail.
if not __name__.startswith("lt_trainer."):
    raise ImportError(f"{__name__!r} is a link into the package: import lt_trainer.callbacks instead")
