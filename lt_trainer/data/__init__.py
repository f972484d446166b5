"""Rows on their way to the model: order, windows, collators, readers, checks."""
