"""Bundles of earlier formats, or of other text rules, brought up to date."""
