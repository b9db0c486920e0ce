"""Pretrained word vectors: files of every usual kind -> the vectors of a bundle."""
