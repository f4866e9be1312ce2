"""The configs of configs/ablations: what each changes, that each takes a step, and that the rest is the recipe's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip('mmpretrain')

from cvt_backbone import ZOO
from cvt_backbone.analysis import trial
from cvt_backbone.archs import get_arch
from cvt_backbone.models import build_random
from helpers import ROOT
from helpers.config_checks import load

CONFIGS = sorted((ROOT / 'configs/ablations').glob('*.py'))
BASELINE = ROOT / 'configs/ablations/cvt-nano_baseline_digits.py'
CHANGES = {  # of cvt-nano
    'baseline': {},
    'pos-every': {'pos_embed': (True,) * 3},
    'pos-first': {'pos_embed': (True, False, False)},
    'pos-last': {'pos_embed': (False, False, True)},
    'proj-avg': {'proj_method': ('avg',) * 3},
    'proj-linear': {'proj_method': ('linear',) * 3},
    'kv-stride-1': {'stride_kv': (1,) * 3},
    'non-overlapping': {'patch_sizes': (4, 2, 2), 'patch_paddings': (0, 0, 0)},
    'nas-like': {'stride_kv': (2, 1, (1, 2)), 'mlp_ratios': (2, 4, (4, 2))},
}


def change_of(path: Path) -> dict:
    return CHANGES[path.stem.removeprefix('cvt-nano_').removesuffix('_digits')]


def test_all_are_there() -> None:
    assert sorted(f'cvt-nano_{name}_digits' for name in CHANGES) == [path.stem for path in CONFIGS]


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_one_thing_is_changed(path: Path) -> None:
    """The architecture is cvt-nano but for one option; everything else is the baseline's."""
    settings, baseline = load(path).to_dict(), load(BASELINE).to_dict()
    assert get_arch(settings['model']['backbone'].pop('arch')) == replace(ZOO['cvt-nano'], **change_of(path))
    baseline['model']['backbone'].pop('arch')
    assert settings == baseline
    assert path.read_text().startswith('# ')


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_a_step_and_a_prediction(path: Path) -> None:
    """Every parameter gets a gradient; the settings reach the blocks."""
    cfg = load(path)
    model = build_random(cfg, (64, 64))
    batch = trial.random_batch(cfg, (64, 64), 4)
    assert trial.take_step(model, batch)['loss'] > 0
    assert len(trial.predict(model, batch)) == 4
    arch, backbone = replace(ZOO['cvt-nano'], **change_of(path)), model.backbone
    assert tuple(stage.pos_embed is not None for stage in backbone.stages) == arch.pos_embed
    for i, stage in enumerate(backbone.stages):
        assert stage.patch_embed.proj.kernel_size == (arch.patch_sizes[i],) * 2
        for block, ratio, stride in zip(
            stage.blocks, arch.per_block('mlp_ratios', i), arch.per_block('stride_kv', i), strict=True
        ):
            assert block.mlp.fc1.out_features == arch.embed_dims[i] * ratio
            if arch.proj_method[i] != 'linear':
                assert block.attn.stride_kv == stride
