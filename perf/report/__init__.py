"""A run for its readers: the terminal, machines (JSON, JUnit XML), and people who open a page.

Laws: whoever reads only the beginning has read the verdict; nothing is decided here. A report can
be made again from the run's directory, also if the run was aborted.
"""

from perf.report.document import to_json, write_json
from perf.report.faces import rebuild, write
from perf.report.junit import write as write_junit
from perf.report.page import write as write_page
from perf.report.terminal import text

__all__ = ["rebuild", "text", "to_json", "write", "write_json", "write_junit", "write_page"]
