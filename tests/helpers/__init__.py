"""What tests share; tests import from here, never from each other."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def plain_configs() -> None:
    """Let mmengine write configs on long lines: yapf, which breaks them, takes a third of a short training's time."""
    from yapf.yapflib import yapf_api

    yapf_api.FormatCode = lambda text, **_: (text, True)
