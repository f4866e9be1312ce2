"""Run the fuzz tests with new examples again and again, for so many minutes.

Each round prints the seed of its examples. A failing example is kept: hypothesis writes a patch that puts it as an
@example above its test, and the last lines say how to apply it.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Rounds until the time is up or one fails; 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('minutes', type=float, help='a round that has begun is finished')
    parser.add_argument('tests', nargs='*', default=sorted(map(str, ROOT.glob('tests/*/test_fuzz_*.py'))))
    args = parser.parse_args()
    end, rounds = time.monotonic() + 60 * args.minutes, 0
    while time.monotonic() < end:
        seed, rounds = random.randrange(10**6), rounds + 1
        print(f'round {rounds}, seed {seed}', flush=True)
        command = [sys.executable, '-m', 'pytest', '-q', '-n', 'auto', f'--hypothesis-seed={seed}', *args.tests]
        if subprocess.run(command, cwd=ROOT, env={**os.environ, 'FUZZ_TENTHS': '10'}).returncode:
            print(f'round {rounds} failed; the same again: FUZZ_TENTHS=10 pytest --hypothesis-seed={seed}')
            return 1
    print(f'{rounds} rounds, none failed')
    return 0


if __name__ == '__main__':
    sys.exit(main())
