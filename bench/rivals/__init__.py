"""What people would use instead of nerserve, each done well and the way its own documentation does it."""
