"""Metrics as torchmetrics modules, for what torchmetrics has not or computes by other rules.

Each module imports torchmetrics, which takes seconds: import them where they are used.
"""
