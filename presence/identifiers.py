"""Ids made by the database, so that plain SQL gets them as well as the ORM.

The SQL function is created by the first migration of this app. Ids are UUIDs of version 7: they
sort by the time they were made, which keeps indexes dense and gives rows of one statement an order.
"""

from django.db.models import Func, UUIDField


class NewId(Func):
    """A new time-ordered UUID; meant for `db_default`."""

    function = "lockstep_uuid"
    arity = 0
    output_field = UUIDField()
