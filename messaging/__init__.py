"""Conversations, messages and receipts; the wire protocol; write path, fan-out and socket."""
