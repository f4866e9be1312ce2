"""Every convolutional projection can learn: a small classifier fits 64 scanned digits whole."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cvt_backbone import CvT
from cvt_backbone.archs import PROJ_METHODS

STEPS = 40  # seeds 0 to 4 need 8 to 14


@pytest.mark.parametrize('method', PROJ_METHODS)
def test_fits_64_pictures(method: str) -> None:
    data = pytest.importorskip('sklearn.datasets').load_digits()
    pictures = torch.from_numpy(data.images[:64]).float().sub(8).div(8)[:, None]  # (64, 1, 8, 8)
    pictures, labels = nn.functional.interpolate(pictures, size=32), torch.from_numpy(data.target[:64])
    arch = dict(embed_dims=(16, 32, 64), depths=(1, 1, 1), num_heads=(1, 2, 4), proj_method=(method,) * 3)
    backbone = CvT(arch, in_channels=1, out_indices=(2,), out_type='cls_token')
    backbone.init_weights()
    model = nn.ModuleDict(dict(backbone=backbone, head=nn.Linear(64, 10))).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(STEPS):
        scores = model.head(model.backbone(pictures)[-1])
        if scores.argmax(1).equal(labels):
            return
        optimizer.zero_grad()
        nn.functional.cross_entropy(scores, labels).backward()
        optimizer.step()
    pytest.fail(f'{scores.argmax(1).eq(labels).sum()} of 64 after {STEPS} steps')
