"""Text to lines, sentences and tokens, with exact offsets; no numpy or torch."""
