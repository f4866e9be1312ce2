"""tools/dev/step_memory.py: bytes of activations by hand, of weights and optimiser by count, and what fits."""

import sys

import pytest
import torch
from mmengine.config import Config
from torch import nn

from helpers import ROOT
from helpers.tiny import TINY

pytest.importorskip('mmpretrain')
sys.path.append(str(ROOT / 'tools/dev'))
import step_memory
from step_memory import Activations

W24 = ROOT / 'configs/cls/cvt-w24_16xb128_in21k.py'


class Small(nn.Sequential):
    def forward(self, x, mode):
        return super().forward(x)


@pytest.mark.parametrize('images', [1, 2])
def test_activations_by_hand(images):
    """The input of the linear layer and the output of the ReLU; in half also the weight that was cast."""
    model, data = Small(nn.Linear(4, 4), nn.ReLU()), {'x': torch.rand(images, 4, requires_grad=True)}
    assert step_memory._count(model, data, half=False) == {'all': images * 4 * 4 * 2}
    assert step_memory._count(model, data, half=True) == {'all': images * 4 * 2 * 2 + 16 * 2}


def test_layer_norm_keeps_fp32_as_on_gpus():
    """Its input (the linear's output, cast), the mean and the deviation; then the input and the weight in half."""
    model, data = Small(nn.Linear(4, 4), nn.LayerNorm(4)), {'x': torch.rand(3, 4, requires_grad=True)}
    assert step_memory._count(model, data, half=True) == {'all': 3 * 4 * 4 + 3 * 4 * 2 + 3 * 4 * 2 + 16 * 2}


@pytest.fixture
def tiny():
    cfg = Config.fromfile(W24)
    cfg.model.backbone.arch, cfg.model.head.in_channels = TINY, TINY['embed_dims'][-1]
    return cfg


def test_checkpointing_and_half_keep_less(tiny):
    found = {
        (half, with_cp): step_memory.measure(tiny, (64, 64), half, with_cp)
        for half in (False, True)
        for with_cp in (False, True)
    }
    plain, saving = found[False, False], found[False, True]
    assert saving.per_image < 0.5 * plain.per_image
    assert (saving.largest_block, saving.once) == (0, 0)
    assert plain.once < 0.05 * plain.per_image
    assert 0 < plain.largest_block < plain.per_image
    assert 0.5 * plain.per_image < found[True, False].per_image < 0.9 * plain.per_image
    large = step_memory.measure(tiny, (128, 64), half=False, with_cp=False)
    assert large.per_image == pytest.approx(2 * plain.per_image, rel=0.25)


def test_state_of_w24():
    state = step_memory.count_state(Config.fromfile(W24), gpus=8)
    assert state['parameters'] == 277_196_392 - 1000 * 1025 + 21841 * 1025
    assert state['DDP'] == 20 * state['parameters']
    assert state['DDP'] / 8 < state['FSDP'] < state['DDP'] / 4


def test_what_fits():
    activations = Activations(once=10, per_image=20, largest_block=5)
    assert step_memory.fits(1000, 300, activations, with_cp=False) == (900 - 310) // 20
    assert step_memory.fits(1000, 300, activations, with_cp=True) == (900 - 310) // 25
    assert step_memory.fits(100, 300, activations, with_cp=False) == 0
