"""`manage.py serve`: migrate, then serve with several processes on one port."""

import os
from argparse import ArgumentParser
from functools import partial
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import ProgrammingError, connection, connections
from django.db.backends.postgresql.base import DatabaseWrapper
from django.db.migrations.executor import MigrationExecutor

from presence.checks import OURS
from project import demo, ports, services, supervisor
from project.addresses import is_loopback
from project.errors import ServiceError
from project.limits import CONNECTIONS, cores
from project.worker import SERVERS


class Command(BaseCommand):
    """Serve Lockstep until Ctrl-C or SIGTERM."""

    help = "Runs migrations, then serves with several processes on one port."
    requires_system_checks = (OURS,)

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--host",
            default="127.0.0.1",
            help="where to listen (%(default)s); with DEBUG on for this machine only",
        )
        parser.add_argument(
            "--port", type=int, help=f"default: the first free one from {ports.FIRST} on"
        )
        parser.add_argument(
            "--processes", type=int, default=cores(), help="default: one per core (%(default)s)"
        )
        parser.add_argument(
            "--server", choices=SERVERS, default=SERVERS[0], help="default: %(default)s"
        )
        parser.add_argument(
            "--no-migrate", action="store_true", help="leave the tables as they are"
        )
        parser.add_argument(
            "--no-spare",
            action="store_true",
            help="keep no process loaded in reserve: saves its memory; a process that dies is missed for longer",
        )
        parser.add_argument(
            "--lame-duck",
            type=float,
            default=0.0,
            metavar="SECONDS",
            help="after SIGTERM say so on /readyz for so long and serve on, for a load balancer to hear it",
        )

    def handle(self, **options: Any) -> None:
        """Reserve the port first: nobody should wait for migrations to hear that it is taken."""
        if settings.DEBUG and not is_loopback(options["host"]):
            raise ServiceError(
                f"DEBUG is on, and others reach {options['host']}: they could log in with the demo's passwords. "
                "Set DEBUG=0, or leave --host out."
            )
        if options["processes"] < 1:
            raise ServiceError(f"--processes {options['processes']}: at least one has to serve.")
        with ports.reserve(options["host"], options["port"]) as holder:
            port = holder.getsockname()[1]
            if options["no_migrate"]:
                self._look_for_tables()
            else:
                quieter = max(options["verbosity"] - 1, 0)
                call_command("migrate", interactive=False, verbosity=quieter)
            if settings.DEBUG:
                demo.make_users()
            self._look_for_room(options["processes"])
            for each in connections.all(initialized_only=True):
                each.close()
                if isinstance(each, DatabaseWrapper):  # others have no pool
                    each.close_pool()
            own = services.directory_in_use()
            supervisor.supervise(
                server=options["server"],
                host=options["host"],
                port=port,
                processes=options["processes"],
                lame_duck_s=max(0.0, options["lame_duck"]),
                has_spare=not options["no_spare"],
                ready=lambda: self._say_ready(port, options),
                revive=None
                if own is None
                else partial(services.revive, own, services.names_in_use(own)),
            )

    def _look_for_tables(self) -> None:
        """Raise ServiceError if the tables are not those of this version: nothing would be served."""
        try:
            executor = MigrationExecutor(connection)
        except ProgrammingError as error:  # who does not own them may have rights on ours alone
            user = connection.settings_dict["USER"]
            raise ServiceError(
                f"{error}: have the owner say GRANT SELECT ON django_migrations TO {user};"
            ) from error
        left = [one for one, _ in executor.migration_plan(executor.loader.graph.leaf_nodes())]
        if left:
            raise ServiceError(
                f"{len(left)} migrations are not applied, {left[0]} is the first: run `manage.py migrate` "
                "as the owner of the database, or leave --no-migrate out."
            )

    def _look_for_room(self, processes: int) -> None:
        """Say so if the database does not take as many connections as the processes may want."""
        with connection.cursor() as cursor:
            cursor.execute("SHOW max_connections")
            most = int(cursor.fetchone()[0])
        if most < processes * CONNECTIONS:
            self.stderr.write(
                f"warning: PostgreSQL takes {most} connections, and {processes} processes want up to "
                f"{processes * CONNECTIONS}: raise its max_connections, or give --processes {max(1, most // CONNECTIONS)}."
            )

    def _say_ready(self, port: int, options: dict[str, Any]) -> None:
        host = f"[{options['host']}]" if ":" in options["host"] else options["host"]
        lines = [
            f"Lockstep serves at http://{host}:{port} "
            f"({options['processes']} x {options['server']}; Ctrl-C ends it)",
        ]
        if settings.DEBUG:
            lines.append(f"  log in as {' or '.join(demo.NAMES)}, password {demo.PASSWORD}")
        lines.append("  " + os.environ.get("LOCKSTEP_PSQL", 'psql "$DATABASE_URL"'))
        self.stdout.write("\n".join(lines))
        self.stdout.flush()
