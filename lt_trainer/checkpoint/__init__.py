"""Checkpoints: what is in the folder (`format`), which one to go on from (`find`), when one is written (`saver`)."""
