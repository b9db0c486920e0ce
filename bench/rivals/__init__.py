"""The alternatives to nerserve, each set up well and as its own documentation does it."""
