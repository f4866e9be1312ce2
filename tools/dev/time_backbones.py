"""Time the backbones of docs/performance.md on this CPU: one process, variants interleaved, the first round dropped."""

from __future__ import annotations

import statistics
import time

import mmdet.models  # noqa: F401  registers Swin-T and ResNet-50
import torch
from mmdet.registry import MODELS
from mmengine.registry import init_default_scope
from torch import nn
from tqdm import trange

from cvt_backbone import CvT

SIZE = (800, 1333)
ROUNDS = 5


def make_backbones() -> dict[str, nn.Module]:
    """The variants, in eval mode."""
    init_default_scope('mmdet')
    swin = dict(type='SwinTransformer', embed_dims=96, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24], window_size=7)
    backbones = {
        'CvT-13, global': CvT('cvt-13'),
        'CvT-13, windows (56, 28, None)': CvT('cvt-13', window_sizes=(56, 28, None)),
        'CvT-13, windows (56, 28, None), deployed': CvT('cvt-13', window_sizes=(56, 28, None)),
        'CvT-13, windows (56, 28, 14), deployed': CvT('cvt-13', window_sizes=(56, 28, 14)),
        'Swin-T (mmdet)': MODELS.build(swin),
        'ResNet-50 (mmdet)': MODELS.build(dict(type='ResNet', depth=50)),
    }
    for name, backbone in backbones.items():
        backbone.eval()
        if 'deployed' in name:
            backbone.switch_to_deploy()
    return backbones


def main() -> None:
    """Time and print the table."""
    backbones = make_backbones()
    image = torch.randn(1, 3, *SIZE)
    seconds: dict[str, list[float]] = {name: [] for name in backbones}
    with torch.no_grad():
        for _ in trange(ROUNDS, desc='rounds'):
            for name, backbone in backbones.items():
                start = time.perf_counter()
                backbone(image)
                seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    print(f'| infer {SIZE[0]}x{SIZE[1]} | s, median (min-max) | over Swin-T | over ResNet-50 |\n|---|---:|---:|---:|')
    for name, values in seconds.items():
        ratios = ' | '.join(f'{medians[name] / medians[f"{peer} (mmdet)"]:.2f}' for peer in ('Swin-T', 'ResNet-50'))
        print(f'| {name} | {medians[name]:.2f} ({min(values[1:]):.2f}-{max(values[1:]):.2f}) | {ratios} |')


if __name__ == '__main__':
    main()
