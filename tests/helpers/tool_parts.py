"""Models for the tests of export and predict."""

import pytest
import torch

from cvt_backbone.configs import SCOPES, load_config
from cvt_backbone.models import build
from helpers import ROOT
from helpers.golden import fill

for scope in SCOPES:
    pytest.importorskip(scope)

DETECTOR = ROOT / 'configs/demo/mask-rcnn_cvt-nano_fpn_digits.py'
SEGMENTOR = ROOT / 'configs/demo/semantic-fpn_cvt-nano_digits.py'
CLASSIFIER = """
default_scope = 'mmpretrain'
custom_imports = dict(imports=['cvt_backbone'], allow_failed_imports=False)
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='CvT', out_indices=(2,), out_type='cls_token', window_sizes=WINDOWS,
        arch=dict(embed_dims=(8, 16, 32), depths=(1, 1, 2), num_heads=(1, 2, 4))),
    head=dict(type='LinearClsHead', num_classes=3, in_channels=32, loss=dict(type='CrossEntropyLoss')))
data_preprocessor = dict(mean=[120., 115., 100.], std=[60., 59., 58.], to_rgb=True, num_classes=3)
test_dataloader = dict(dataset=dict(type='CustomDataset', pipeline=[
    dict(type='LoadImageFromFile'), dict(type='PackInputs')]))
visualizer = dict(type='UniversalVisualizer')
"""


def make_model(config, path):
    """A model of golden weights, and its checkpoint as a training would leave it."""
    cfg = load_config(str(config))
    model = fill(build(cfg))
    meta = {'classes': tuple(f'class {i}' for i in range(classes_of(cfg)))}
    if cfg.default_scope == 'mmseg':
        meta['palette'] = [[10 * i, 0, 0] for i in range(11)]
    torch.save({'state_dict': model.state_dict(), 'meta': {'dataset_meta': meta}}, path)
    return cfg, model.eval()


def classes_of(cfg):
    return {'mmdet': 10, 'mmseg': 11, 'mmpretrain': 3}[cfg.default_scope]


def make_classifier(folder):
    """A classifier's config and checkpoint."""
    (folder / 'classifier.py').write_text(CLASSIFIER.replace('WINDOWS', '(24, 6, 4)'))
    make_model(folder / 'classifier.py', folder / 'classifier.pth')
    return folder / 'classifier.py', folder / 'classifier.pth'
