"""Which figures of the series share a plot. Data: a new figure of the series gets its place here."""

from __future__ import annotations

from perf.report.plots.timeline import Curve, Panel


def _cpu(group: str, label: str) -> Curve:
    return Curve(name=f"{group}.cpu_percent", label=label, colour=group)


def _memory(group: str, label: str, figure: str = "rss_mb", *, dashed: bool = False) -> Curve:
    return Curve(name=f"{group}.{figure}", label=label, colour=group, dashed=dashed)


LOAD = (
    Panel(
        name="rate",
        title="Messages",
        unit="per second; dashed: asked for, filled: stored and acknowledged",
        curves=(
            Curve(name="load.asked", label="asked", colour="muted", rate=True, dashed=True),
            Curve(name="load.acked", label="achieved", colour="first", rate=True, filled=True),
        ),
    ),
    Panel(
        name="deliveries",
        title="Deliveries",
        unit="per second, applied by the devices",
        curves=(
            Curve(name="load.delivered", label="delivered", colour="third", rate=True, filled=True),
        ),
    ),
    Panel(
        name="connections",
        title="Connections",
        unit="open sessions, as the server and the devices count them",
        curves=(
            Curve(name="server.sessions", label="server", colour="server"),
            Curve(name="load.connected", label="devices", colour="second", dashed=True),
        ),
    ),
    Panel(
        name="lateness",
        title="The generator's lateness",
        unit="ms, the worst of each second: how far the load itself lagged behind its plan",
        curves=(Curve(name="generator.late_ms", label="late", colour="generator", filled=True),),
    ),
)

RESOURCES = (
    Panel(
        name="cpu",
        title="CPU",
        unit="% of one core",
        curves=(
            _cpu("server", "server"),
            _cpu("postgres", "PostgreSQL"),
            _cpu("valkey", "Valkey"),
            _cpu("generator", "generator"),
            Curve(name="others.cpu_percent", label="others", colour="others", dashed=True),
        ),
    ),
    Panel(
        name="memory",
        title="Memory",
        unit="MB; the server's and the generator's resident, PostgreSQL's own (without shared buffers)",
        curves=(
            _memory("server", "server"),
            _memory("postgres", "PostgreSQL", "uss_mb"),
            _memory("valkey", "Valkey"),
            _memory("generator", "generator"),
        ),
    ),
    Panel(
        name="descriptors",
        title="Open descriptors",
        unit="sockets included",
        curves=(
            Curve(name="server.descriptors", label="server", colour="server"),
            Curve(name="generator.descriptors", label="generator", colour="generator"),
            Curve(name="postgres.descriptors", label="PostgreSQL", colour="postgres"),
        ),
    ),
    Panel(
        name="tasks",
        title="Tasks and threads",
        unit="asyncio tasks, threads of the operating system",
        curves=(
            Curve(name="server.tasks", label="server tasks", colour="server"),
            Curve(name="server.threads", label="server threads", colour="server", dashed=True),
            Curve(name="generator.tasks", label="generator tasks", colour="generator"),
        ),
    ),
)

SERVICES = (
    Panel(
        name="commits",
        title="PostgreSQL: transactions",
        unit="per second",
        curves=(
            Curve(
                name="postgres.commits", label="commits", colour="postgres", rate=True, filled=True
            ),
            Curve(name="postgres.rollbacks", label="rollbacks", colour="limit", rate=True),
        ),
    ),
    Panel(
        name="wal",
        title="PostgreSQL: write-ahead log",
        unit="MB a second",
        curves=(
            Curve(
                name="postgres.wal_bytes",
                label="WAL",
                colour="postgres",
                rate=True,
                scale=1e-6,
                filled=True,
            ),
        ),
    ),
    Panel(
        name="backends",
        title="PostgreSQL: sessions by state",
        unit="of the server's own connections",
        curves=(
            Curve(name="postgres.backends_active", label="active", colour="postgres"),
            Curve(name="postgres.backends_in_transaction", label="in transaction", colour="second"),
            Curve(name="postgres.lock_waits", label="wait for a lock", colour="limit"),
        ),
    ),
    Panel(
        name="cache",
        title="PostgreSQL: cache hits",
        unit="% of the blocks read",
        curves=(Curve(name="postgres.cache_hit_percent", label="hits", colour="postgres"),),
    ),
    Panel(
        name="valkey",
        title="Valkey: commands",
        unit="per second",
        curves=(
            Curve(
                name="valkey.commands", label="commands", colour="valkey", rate=True, filled=True
            ),
        ),
    ),
    Panel(
        name="queue",
        title="The server's queues",
        unit="writes that wait for a commit; marks and batches per second",
        curves=(
            Curve(name="server.queued_writes", label="queued", colour="server"),
            Curve(name="server.batches", label="batches", colour="postgres", rate=True),
        ),
    ),
)


def latency(what: str) -> Panel:
    """The percentiles of one kind of latency over time."""
    begin = f"latency.{what}"
    return Panel(
        name=f"latency-{what}",
        title=f"{what.capitalize()}: percentiles over time",
        unit="ms, logarithmic",
        log=True,
        curves=(
            Curve(name=f"{begin}.p50", label="p50", colour="third"),
            Curve(name=f"{begin}.p99", label="p99", colour="first"),
            Curve(name=f"{begin}.max", label="max", colour="muted", dashed=True),
        ),
    )
