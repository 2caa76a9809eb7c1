"""What this process takes on, and what it refuses when there is too much.

`door` bounds connections and hellos, `buckets` what one device and one user may ask for, `pressure` says how
busy the process is and so what is shed. Breaker: `presence.breaker`. Why so: docs/decisions/0012-overload.md.
"""
