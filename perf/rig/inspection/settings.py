"""The project's settings, with one more page."""

import os
import sys

from perf.rig.children import MARK
from project.settings import *  # noqa: F403

if not os.environ.get(MARK):
    sys.exit("error: perf.rig.inspection is only for servers that `perf` starts")

ROOT_URLCONF = "perf.rig.inspection.urls"
