"""The project's settings for a server that is broken on purpose."""

import os
import sys

from perf.sabotage.guard import refusal
from project.settings import *  # noqa: F403
from project.settings import INSTALLED_APPS as PROJECT_APPS

if reason := refusal(os.environ, sys.argv):
    sys.exit(f"error: {reason}")

INSTALLED_APPS = [*PROJECT_APPS, "perf.sabotage"]
