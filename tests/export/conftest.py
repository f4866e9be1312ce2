"""A classifier to export, and one translation for the files of several engines."""

import pytest

from cvt_backbone.export import formats
from helpers.tool_parts import make_classifier


@pytest.fixture
def classifier(tmp_path):
    return make_classifier(tmp_path)


@pytest.fixture
def translated_once(monkeypatch):
    """One ONNX model for the files of both engines, since that takes most of the time; of one module a test."""

    def once(make):
        made = []

        def first(*args):
            if not made:
                made.append(make(*args))
            return made[0]

        return first

    for name in ('capture', 'make_onnx'):
        monkeypatch.setattr(formats, name, once(getattr(formats, name)))
