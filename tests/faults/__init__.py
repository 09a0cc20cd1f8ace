"""What happens when the system, the network or a peer fails: nothing hangs, spins, leaks, or is lost."""
