"""The rows that nearly every request begins with, by SQL that is made once.

Django makes the SQL of a query anew each time; for a row by its key that costs several times as
much as asking the database.
"""

from typing import Any, Generic, TypeVar

from django.db import connection
from django.db.models import Model

Row = TypeVar("Row", bound=Model)


class Lookup(Generic[Row]):
    """The first row of a model under a condition on `r`, with the row `p` that a foreign key refers to.

    Of that one only the `known` columns are read now, by default all.
    """

    def __init__(
        self, model: type[Row], parent: str, condition: str, *, known: tuple[str, ...] = ()
    ) -> None:
        key: Any = model._meta.get_field(parent)
        self._model, self._key, self._parent = model, parent, key.related_model
        fields = model._meta.concrete_fields
        above = [f for f in self._parent._meta.concrete_fields if not known or f.name in known]
        self._names = [field.attname for field in fields]
        self._parent_names = [field.attname for field in above]
        columns = [f'r."{f.column}"' for f in fields] + [f'p."{f.column}"' for f in above]
        self._statement = (
            f'SELECT {", ".join(columns)} FROM "{model._meta.db_table}" r'
            f' JOIN "{self._parent._meta.db_table}" p ON p."{key.target_field.column}" = r."{key.column}"'
            f" WHERE {condition} LIMIT 1"
        )

    def first(self, *parameters: Any) -> Row | None:
        """The row, or None. Raises django.db.DatabaseError."""
        with connection.cursor() as cursor:
            cursor.execute(self._statement, parameters)
            values = cursor.fetchone()
        if values is None:
            return None
        split = len(self._names)
        row = self._model.from_db(connection.alias, self._names, values[:split])
        parent = self._parent.from_db(connection.alias, self._parent_names, values[split:])
        setattr(row, self._key, parent)
        return row
