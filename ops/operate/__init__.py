"""The operator's commands: scale, roll out, roll back, compare."""
