"""What people read about a model: the report of a training run with its plots, and the page of errors."""
