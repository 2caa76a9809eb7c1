"""Runs the quick tests again and again in random order and prints how often a run fails.

`python -m tests.flaky --runs 3` for less than the usual 20. What a failed run said is kept in a
file, whose path is printed.
"""

import argparse
import random
import subprocess
import sys
import tempfile
from pathlib import Path

RUNS = 20
COMMAND = ["-m", "pytest", "-q", "-p", "randomly", "-m", "not slow and not long and not browser"]


def main() -> int:
    """Return 0 when every run passed."""
    parser = argparse.ArgumentParser(prog="python -m tests.flaky", description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, choices=range(1, 1001), metavar="N")
    runs, failed = parser.parse_args().runs, 0
    for number in range(1, runs + 1):
        seed = random.randrange(2**32)
        result = subprocess.run(
            [sys.executable, *COMMAND, f"--randomly-seed={seed}"],
            check=False,
            capture_output=True,
            text=True,
        )
        lines = result.stdout.splitlines()
        print(f"run {number}, seed {seed}: {lines[-1] if lines else result.stderr}", flush=True)
        if result.returncode != 0:
            failed += 1
            print(*(line for line in lines if line.startswith(("FAILED", "ERROR"))), sep="\n")
            print(f"all of it: {keep(result, seed)}", flush=True)
    print(f"flake rate: {failed} of {runs} runs failed ({100 * failed / runs:.0f} %)")
    return int(failed > 0)


def keep(result: subprocess.CompletedProcess[str], seed: int) -> Path:
    """Write what a run said to a file that outlives this program."""
    path = Path(tempfile.gettempdir()) / f"lockstep-flaky-{seed}.log"
    path.write_text(f"{result.stdout}\n{result.stderr}")
    return path


if __name__ == "__main__":
    sys.exit(main())
