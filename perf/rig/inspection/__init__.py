"""A server that may be looked into: it says what it holds once it was asked to tidy up.

Loaded only by a server that the rig starts with these settings; the product knows nothing of it.
"""

PATH = "perf/quiescence"
"""Where it answers: JSON of `blocks`, `objects`, `in_use` (bytes), `tasks`, and `types`, the most numerous."""
