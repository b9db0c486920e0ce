"""The serving contract, the ground floor: each rule that both tiers keep, once; stdlib only, and no import of ours.

``errors`` (status, code, Retry-After), ``limits``, ``names`` (models and versions), ``options`` (and units of offsets),
``entities`` (what replies are made of, and the canary), ``bodies`` and ``strict_json``.  It is packed into every
archive and copied into both images.
"""
