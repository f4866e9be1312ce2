"""A training in fp16 and in bfloat16 autocast, with a gradient scaler, on digits: a tiny model of each toolbox.

On a GPU where there is one. mmengine's AmpOptimWrapper refuses CPUs, whose autocast and scaler PyTorch has; here they
are used as that wrapper would. mmcv has no NMS for CPUs but that of fp32, and no RoIAlign of bfloat16: of the detector
the backbone and the neck are in autocast, its heads in fp32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData, PixelData
from torch import Tensor, nn

from cvt_backbone.analysis import trial
from cvt_backbone.models import build_random
from helpers.small_models import TEXTS, settings

pytest.importorskip('sklearn')
from sklearn.datasets import load_digits

SIDE, ITERATIONS, BATCHES = 64, 100, 8
DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'

needs_scaler = pytest.mark.skipif(
    DEVICE == 'cpu' and not hasattr(torch.amp, 'GradScaler'), reason='PyTorch has a gradient scaler for CPUs from 2.3'
)


def digits(cfg: Config, batch_size: int) -> list[dict[str, Any]]:
    """Batches of pictures with a 0, 1 or 2 of 32 x 32 pixels on noise, with the annotations that the model reads."""
    from mmdet.structures.bbox import HorizontalBoxes
    from mmdet.structures.mask import BitmapMasks

    random = np.random.default_rng(0)
    scans = load_digits(n_class=3)
    batches = []
    for _ in range(BATCHES):
        batch = trial.random_batch(cfg, (SIDE, SIDE), batch_size)
        for i, sample in enumerate(batch['data_samples']):
            pick = int(random.integers(len(scans.target)))
            label = int(scans.target[pick])
            y, x = random.integers(0, SIDE - 32, 2).tolist()
            ink = np.zeros((SIDE, SIDE))
            ink[y : y + 32, x : x + 32] = np.kron(scans.images[pick], np.ones((4, 4))) / 16
            noise = random.integers(0, 80, (3, SIDE, SIDE))
            batch['inputs'][i] = torch.from_numpy(np.maximum(noise, 255 * ink).astype(np.uint8))
            if cfg.default_scope == 'mmpretrain':
                sample.set_gt_label(label)
            elif cfg.default_scope == 'mmseg':
                sample.gt_sem_seg = PixelData(data=torch.from_numpy((ink > 0.3) * (label + 1))[None])
            else:
                boxes = torch.tensor([[x, y, x + 32, y + 32]], dtype=torch.float32)
                masks = BitmapMasks((ink > 0.3)[None].astype(np.uint8), SIDE, SIDE)
                sample.gt_instances = InstanceData(
                    bboxes=HorizontalBoxes(boxes), labels=torch.tensor([label]), masks=masks
                )
        batches.append(batch)
    return batches


def heads_in_fp32(model: nn.Module, dtype: torch.dtype) -> None:
    """Leave the detector's autocast to its backbone and neck."""
    extract, loss = model.extract_feat, model.loss

    def extract_feat(images: Tensor) -> tuple[Tensor, ...]:
        with torch.autocast(DEVICE, dtype):
            return tuple(level.float() for level in extract(images))

    def outside(*args: Any, **settings: Any) -> dict[str, Any]:
        with torch.autocast(DEVICE, enabled=False):
            return loss(*args, **settings)

    model.extract_feat, model.loss = extract_feat, outside


def train(model: nn.Module, batches: list[dict[str, Any]], dtype: torch.dtype) -> tuple[list[float], list[float]]:
    """The loss and the scale of each iteration."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    scaler = torch.amp.GradScaler(DEVICE)
    losses, scales = [], []
    model.train()
    for i in range(ITERATIONS):
        data = model.data_preprocessor(trial.deepcopy(batches[i % BATCHES]), training=True)
        with torch.autocast(DEVICE, dtype):
            terms = model(**data, mode='loss')
        loss, logged = model.parse_losses(terms)
        assert all(value.isfinite() for value in logged.values()), (i, logged)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.item())
        scales.append(scaler.get_scale())
    return losses, scales


def maps(model: nn.Module, batch: dict[str, Any], dtype: torch.dtype) -> tuple[Tensor, ...]:
    model.eval()
    inputs = model.data_preprocessor(trial.deepcopy(batch), training=False)['inputs']
    with torch.no_grad(), torch.autocast(DEVICE, dtype, enabled=dtype != torch.float32):
        return model.backbone(inputs)


@needs_scaler
@pytest.mark.slow
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=['fp16', 'bf16'])
@pytest.mark.parametrize('scope', TEXTS)
def test_trains(scope, dtype):
    cfg = settings(scope)
    model = build_random(cfg, (SIDE, SIDE)).to(DEVICE)
    if scope == 'mmdet':
        heads_in_fp32(model, dtype)
    batches = digits(cfg, 4 if scope == 'mmpretrain' else 2)
    losses, scales = train(model, batches, dtype)
    first, last = np.mean(losses[:16]), np.mean(losses[-16:])
    print(f'{scope} {dtype}: loss {first:.3f} -> {last:.3f}, scale {scales[0]:g} -> {scales[-1]:g}')
    assert last < 0.7 * first
    assert min(scales) >= 2**9, 'from 2**16; each halving is a step that was left out'
    assert all(p.isfinite().all() for p in model.parameters())
    if dtype == torch.bfloat16:
        for expected, found in zip(maps(model, batches[0], torch.float32), maps(model, batches[0], dtype), strict=True):
            assert (found.float() - expected).norm() < 2e-2 * expected.norm()
