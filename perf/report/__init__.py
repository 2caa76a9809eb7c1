"""A run for its readers: the terminal, machines (JSON, JUnit XML), and people who open a page.

Laws: whoever reads only the beginning has read the verdict; nothing is decided here. A report can
be made again from the run's directory, also if the run was aborted.
"""

from perf.report.document import to_json, write_json
from perf.report.terminal import text

__all__ = ["text", "to_json", "write_json"]
