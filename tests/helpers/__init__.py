"""What tests share; tests import from here, never from each other."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
