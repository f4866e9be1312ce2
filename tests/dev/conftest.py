"""What the tests of tools/dev/evidence.py share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from helpers import ROOT
from helpers.trainings import fake_trainings

sys.path.append(str(ROOT / 'tools/dev'))


@pytest.fixture
def evidence_tool(tmp_path, monkeypatch):
    """A function: what runs log -> a function that calls the tool and returns the names of all runs until then."""

    def prepare(figures):
        import evidence
        import evidence_gallery
        import trainings

        from cvt_backbone.analysis import plots

        commands = fake_trainings(monkeypatch, trainings, figures)
        monkeypatch.setattr('cvt_backbone.data.digits.make_digits', lambda *args, **settings: None)

        for draw in ('draw_detections', 'draw_label_maps'):  # of checkpoints that hold nothing
            monkeypatch.setattr(evidence_gallery, draw, lambda *_: plots.make_figure(1, 1))

        def call(question, *options):
            arguments = [question, '-o', tmp_path / 'docs', '--work-dir', tmp_path / 'work', '--seeds', 0, 1, *options]
            monkeypatch.setattr(sys, 'argv', ['evidence.py', *map(str, arguments)])
            evidence.main()
            return [Path(command[2]).stem for command in commands]

        return call

    return prepare
