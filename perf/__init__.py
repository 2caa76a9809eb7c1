"""The test framework: a plain Python engine, and a thin Django shell over it.

Laws: the engine imports no Django and nothing of the project but the face of `messaging.protocol`;
it talks to what it tests through sockets, child processes and plain SQL only.
"""
