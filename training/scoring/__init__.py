"""How good a model is: scores by the CoNLL definition, calibration, the field exam, and its profile."""
