"""What is done when something dies or hangs: the policy, and the supervisor that carries it out."""
