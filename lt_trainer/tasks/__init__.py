"""One file a task: its LightningModule and its DataModule."""

if not __name__.startswith("lt_trainer."):
    raise ImportError(
        f"imported as {__name__!r}: expected 'lt_trainer.tasks'. The folder at the top of the project is a link; "
        "importing through it would make a second copy of every class"
    )
