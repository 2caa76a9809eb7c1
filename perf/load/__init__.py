"""What a run does to a server: devices, fleets, plans, and clients that keep no rules."""
