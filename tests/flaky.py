"""Runs the quick tests again and again in random order and prints how often a run fails."""

import random
import subprocess
import sys

RUNS = 20
COMMAND = ["-m", "pytest", "-q", "-p", "randomly", "-m", "not slow and not long and not browser"]


def main() -> int:
    """Return 0 when every run passed."""
    failed = 0
    for number in range(1, RUNS + 1):
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
    print(f"flake rate: {failed} of {RUNS} runs failed ({100 * failed / RUNS:.0f} %)")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
