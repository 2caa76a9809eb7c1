"""Devices: registered, authenticated, linked, revoked, and which of them are here now."""
