"""The open English corpora of the shipped models: what is mended in each, and text made of lists of names.

The target is the CoNLL-2003 definition (Tjong Kim Sang and De Meulder): PER without titles, LOC, ORG, and MISC for
nationalities, religions, works, events and the like.  The input is a folder with a sub-folder per corpus, each with
``train.conll`` and, if it has them, ``dev.conll`` and ``test.conll`` in native BIO labels.
"""

from training.open_english.preparation import Prepared, prepare

__all__ = ["Prepared", "prepare"]
