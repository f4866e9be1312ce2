"""swap_backbone on random configs: maps of the same strides and fitted channels, or InputError; never anything else."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from mmengine.config import Config

from cvt_backbone import swap_backbone
from cvt_backbone.errors import InputError
from cvt_backbone.swap import measure, probe
from helpers.fuzzing import fuzz, junk

ARCHS = {  # strides of the stages -> arch dict
    (4, 8): {'embed_dims': (8, 12), 'depths': (1, 1), 'num_heads': (1, 1)},
    (4, 8, 16): {'embed_dims': (8, 12, 20), 'depths': (1, 1, 1), 'num_heads': (1, 1, 1)},
    (4, 8, 16, 32): {'embed_dims': (4, 8, 12, 20), 'depths': (1,) * 4, 'num_heads': (1,) * 4},
}
RESNETS = {  # strides of the maps -> settings of a ResNet
    (4, 8, 16, 32): {},
    (4, 8, 16, 16): {'strides': (1, 2, 2, 1), 'dilations': (1, 1, 1, 2)},
    (4, 8, 8, 8): {'strides': (1, 2, 1, 1), 'dilations': (1, 1, 2, 4)},
}
Maps = list[tuple[int, int]]  # channels and stride of each


@pytest.fixture(autouse=True, scope='module')
def _one_image_size() -> Iterator[None]:
    """Larger images are for coarser pyramids than these; without them a config that fails, fails soon."""
    pytest.importorskip('mmdet')
    pytest.importorskip('mmseg')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe, 'IMAGE_SIZES', (128,))
        yield


@st.composite
def backbones(draw: st.DrawFn) -> tuple[dict, Maps]:
    strides = draw(st.sampled_from(sorted(RESNETS)))
    width = draw(st.sampled_from([4, 8]))
    indices = sorted(draw(st.sets(st.integers(0, 3), min_size=1)))
    backbone = {'type': 'ResNet', 'depth': 18, 'base_channels': width, **RESNETS[strides], 'out_indices': indices}
    if draw(st.booleans()):
        backbone |= {'frozen_stages': 1, 'init_cfg': {'type': 'Pretrained', 'checkpoint': 'torchvision://resnet18'}}
    return backbone, [(width << i, strides[i]) for i in indices]


def fit(strides: tuple[int, ...], reads: list[tuple[list[int], bool]]) -> bool:
    """Whether CvT of these stage strides has a map for each of those read (by a main head or not)."""
    deepest = max(stride for read, main in reads if main for stride in read)
    if deepest == strides[0]:
        return False
    if len(strides) > 2 and deepest == strides[-2]:
        strides = (*strides[:-1], strides[-2])
    pooled = tuple(strides[-1] << k for k in range(1, 8))
    return all(
        read.count(stride) <= max(strides.count(stride), stride in pooled) for read, _ in reads for stride in read
    )


@st.composite
def detectors(draw: st.DrawFn) -> tuple[dict, tuple[int, ...], bool]:
    """A config with FPN; the strides of the CvT; whether it can be swapped."""
    backbone, maps = draw(backbones())
    channels, strides = [c for c, _ in maps], [s for _, s in maps]
    start = draw(st.integers(0, len(maps) - 1))
    extra = draw(st.sampled_from([False, 'on_input', 'on_output']))
    outs = draw(st.integers(1, 5))
    said = draw(st.sampled_from([channels] * 4 + [channels[::-1], channels[:-1] + [7]]))
    neck = {'type': 'FPN', 'in_channels': said, 'out_channels': 8, 'num_outs': outs}
    neck |= {'start_level': start, 'add_extra_convs': extra}
    model = {'type': 'SingleStageDetector', 'backbone': backbone, 'neck': neck}
    model['bbox_head'] = {'type': 'RetinaHead', 'in_channels': 8, 'num_classes': 3}
    cvt = draw(st.sampled_from(sorted(ARCHS)))
    fits = fit(cvt, [(strides, True)]) or (start > 0 and fit(cvt, [(strides[start:], True)]))
    right = said == channels and outs >= len(maps) - start and fits
    return {'default_scope': 'mmdet', 'model': model}, cvt, right


@st.composite
def segmentors(draw: st.DrawFn) -> tuple[dict, tuple[int, ...], bool]:
    """A config whose heads choose maps; the strides of the CvT; whether it can be swapped."""
    backbone, maps = draw(backbones())
    reads, right, heads = [], True, []
    for main in [True, *draw(st.sampled_from([[], [False], [False, False]]))]:
        wrong = draw(st.integers(0, 11))  # 0: another number of channels; 1: a map that is not there
        if draw(st.booleans()):
            indices = draw(st.lists(st.integers(0, len(maps) - 1), min_size=1, max_size=4, unique=True))
            head = {'type': 'UPerHead' if main else 'FCNHead', 'in_index': indices, 'channels': 8, 'num_classes': 3}
            head['in_channels'] = [maps[i][0] for i in indices]
            if wrong == 0:
                head['in_channels'][-1] += 1
            elif wrong == 1:
                head['in_index'] = [*indices[:-1], draw(st.sampled_from([len(maps), -len(maps) - 1]))]
        else:
            index = draw(st.integers(-len(maps), len(maps) - 1))
            indices = [index % len(maps)]
            head = {'type': 'FCNHead', 'in_index': index, 'channels': 8, 'num_classes': 3}
            head['in_channels'] = maps[index][0] + (wrong == 0)
            if wrong == 1:
                head['in_index'] = draw(st.sampled_from([len(maps), -len(maps) - 1, -len(maps) - 2]))
        right &= wrong > 1
        reads.append(([maps[i][1] for i in indices], main))
        heads.append(head)
    model = {'type': 'EncoderDecoder', 'backbone': backbone, 'decode_head': heads[0]}
    if len(heads) > 1:
        model['auxiliary_head'] = heads[1:] if len(heads) > 2 or draw(st.booleans()) else heads[1]
    cvt = draw(st.sampled_from(sorted(ARCHS)))
    return {'default_scope': 'mmseg', 'model': model}, cvt, right and fit(cvt, reads)


def heads_of(model: dict) -> list[dict]:
    others = model.get('auxiliary_head') or []
    return [model['decode_head'], *(others if isinstance(others, list) else [others])]


def check_swapped(old: Config, new: Config) -> None:
    """The new config says what CvT gives, and its maps have the strides of the old one's."""
    assert new.model.backbone.type == 'CvT'
    before, after = measure(old), measure(new)
    if 'decode_head' not in new.model:
        assert after.seen == before.seen
        return
    for was, head in zip(heads_of(old.model), heads_of(new.model), strict=True):
        several = isinstance(head['in_index'], list)
        assert several == isinstance(was['in_index'], list)
        places, old_places = ([h['in_index']] if not several else h['in_index'] for h in (head, was))
        channels = head['in_channels'] if several else [head['in_channels']]
        assert [after.seen[i].channels for i in places] == channels
        assert [after.seen[i].stride for i in places] == [before.seen[i].stride for i in old_places]


def check(config: dict, cvt: tuple[int, ...], right: bool) -> None:
    cfg, arch = Config(copy.deepcopy(config)), copy.deepcopy(ARCHS[cvt])
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try:
            new = swap_backbone(cfg, arch)
        except InputError as error:
            assert not right, error
            check_message(error)
            event('refused')
            return
    assert right, new.model
    assert cfg.to_dict() == Config(config).to_dict()
    assert arch == ARCHS[cvt]
    check_swapped(cfg, new)
    check_swapped(cfg, Config.fromstring(new.pretty_text, '.py'))
    event('swapped')


def check_message(error: InputError) -> None:
    """It begins with the component's place in the config."""
    assert re.match(r'[a-z]\w*([.\[]\w+\]?)*: \S', str(error)), str(error)


CONFIGS = st.one_of(detectors(), segmentors())


@fuzz(60)
@given(CONFIGS)
def test_a_few(case: tuple[dict, tuple[int, ...], bool]) -> None:
    check(*case)


@pytest.mark.slow
@fuzz(250)
@given(CONFIGS)
def test_many(case: tuple[dict, tuple[int, ...], bool]) -> None:
    check(*case)


def places_in(part: Any, place: tuple = ()) -> list[tuple]:
    """The place of each value in a nested config."""
    items = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, (list, tuple)) else ()
    return [found for key, value in items for found in [(*place, key), *places_in(value, (*place, key))]]


SURROUNDINGS = {
    'optim_wrapper': {'type': 'OptimWrapper', 'constructor': 'LearningRateDecayOptimizerConstructor'},
    'custom_imports': {'imports': ['cvt_backbone.archs'], 'allow_failed_imports': False},
    'load_from': 'detector.pth',
}


@st.composite
def junk_configs(draw: st.DrawFn) -> tuple[dict, tuple[int, ...]]:
    """A config with a value that belongs nowhere, anywhere, and the strides of the CvT."""
    config, cvt, _ = draw(CONFIGS)
    config |= copy.deepcopy(SURROUNDINGS)
    for _ in range(draw(st.integers(1, 2))):
        *parents, key = draw(st.sampled_from(sorted(places_in(config), key=str)))
        part = config
        for parent in parents:
            part = part[parent]
        if isinstance(part, dict) and draw(st.integers(0, 3)) == 0:
            del part[key]
        elif not isinstance(part, tuple):
            part[key] = draw(junk())
    return config, cvt


@pytest.mark.slow
@fuzz(350)
@given(junk_configs())
def test_configs_with_junk(case: tuple[dict, tuple[int, ...]]) -> None:
    """Refused, or a swap that holds."""
    config, cvt = case
    cfg = Config(copy.deepcopy(config))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try:
            new = swap_backbone(cfg, ARCHS[cvt])
        except InputError as error:
            check_message(error)
            event('refused')
            return
    event('swapped')
    assert new.model.backbone.type == 'CvT'
    assert [level.stride for level in measure(new).seen if 'decode_head' not in new.model] == [
        level.stride for level in measure(cfg).seen if 'decode_head' not in new.model
    ]


ARGUMENTS = ('arch', 'optim', 'window_sizes', 'drop_rate', 'with_cp', 'norm_cfg', 'act_cfg')


@fuzz(200)
@given(name=st.sampled_from(ARGUMENTS), value=junk())
def test_arguments_with_junk(name: str, value: Any) -> None:
    """Whatever is wrong about arch, optim and the options is told before anything is built."""
    cfg = Config({'default_scope': 'mmdet', 'model': {'backbone': {'type': 'ResNet', 'depth': 18}}})
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        with pytest.raises((ValueError, TypeError)) as error:
            swap_backbone(cfg, **{'arch': 'cvt-nano', name: value})
    assert name in str(error.value) or isinstance(error.value, InputError)
