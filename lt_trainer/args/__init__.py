"""Arguments as plain data: fields, their checks, and the plan that they make. Nothing here imports torch."""
