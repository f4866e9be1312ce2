"""Frozen stages, batch norms, gradient checkpointing and initialisation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cvt_backbone import CvT
from helpers.golden import fill, make_state


def loss_of(outputs: tuple[Tensor, ...]) -> Tensor:
    """A loss that weighs every value differently."""
    generator = torch.Generator().manual_seed(5)
    return sum((out * torch.randn(out.shape, generator=generator)).sum() for out in outputs)


@pytest.mark.parametrize('frozen', [-1, 0, 1, 2])
def test_frozen_stages(build: Callable[..., CvT], image: Tensor, frozen: int) -> None:
    model = build(frozen_stages=frozen, out_norm_cfg=dict(type='LN'))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    for _ in range(2):  # as built, then after .train()
        for i, stage in enumerate(model.stages):
            assert all(module.training == (i > frozen) for module in stage.modules())
            assert all(parameter.requires_grad == (i > frozen) for parameter in stage.parameters())
        assert model.norm0.weight.requires_grad
        model.eval()
        model.train()
    loss_of(model(image)).backward()
    for name, parameter in model.named_parameters():
        is_frozen = name.startswith(tuple(f'stage{i}.' for i in range(frozen + 1)))
        assert (parameter.grad is None) == is_frozen, name
    for name, buffer in model.named_buffers():
        is_frozen = name.startswith(tuple(f'stage{i}.' for i in range(frozen + 1)))
        assert torch.equal(buffer, before[name]) == is_frozen, name


def test_frozen_stages_after_init_weights(build: Callable[..., CvT]) -> None:
    model = build(frozen_stages=1)
    model.init_weights()
    assert not any(parameter.requires_grad for parameter in model.stage1.parameters())
    assert not model.stage1.training


def test_norm_eval(build: Callable[..., CvT], image: Tensor) -> None:
    model = build(norm_eval=True).train()
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    assert len(norms) == 3 * 4
    assert not any(norm.training for norm in norms)
    assert all(block.training and block.attn.training for stage in model.stages for block in stage.blocks)
    before = [buffer.clone() for buffer in model.buffers()]
    loss_of(model(image)).backward()
    assert all(map(torch.equal, model.buffers(), before))
    assert all(norm.weight.grad is not None for norm in norms)
    model = build().train()
    assert all(m.training for m in model.modules() if isinstance(m, _BatchNorm))
    model(image)
    assert not any(map(torch.equal, model.buffers(), before))


CP_SETTINGS = {
    'plain': {},
    'drop path': {'drop_path_rate': (0.3, 0.3, 0.5)},
    'dropout': {'drop_rate': 0.2, 'attn_drop_rate': 0.2},
    'windows': {'window_sizes': (4, 4, None)},
    'windows per block': {'window_sizes': (4, 4, (2, None)), 'drop_path_rate': 0.5},
    'cls token': {'out_type': 'cls_token', 'drop_path_rate': 0.5},
    'frozen': {'frozen_stages': 0},
    'norm eval': {'norm_eval': True},
    'GN': {'norm_cfg': dict(type='GN', num_groups=2)},
    'no running statistics': {'norm_cfg': dict(type='BN', track_running_stats=False)},
    'cumulative average': {'norm_cfg': dict(type='BN', momentum=None)},
}


@pytest.mark.slow
@pytest.mark.parametrize('case', CP_SETTINGS)
def test_checkpointing_is_exact(build: Callable[..., CvT], image: Tensor, case: str) -> None:
    """Two steps: outputs, gradients, running statistics and their counter are equal to the last bit."""
    results = []
    for with_cp in (False, True):
        model = build(with_cp=with_cp, **CP_SETTINGS[case]).train()
        torch.manual_seed(3)
        found: dict[str, Tensor] = {}
        for step in range(2):
            outputs = model(image + step)
            loss_of(outputs).backward()
            found.update({f'out{step}.{i}': out.detach() for i, out in enumerate(outputs)})
        found.update({f'grad.{name}': p.grad for name, p in model.named_parameters() if p.grad is not None})
        found.update(dict(model.named_buffers()))
        results.append(found)
    plain, checkpointed = results
    assert plain.keys() == checkpointed.keys()
    assert not [name for name in plain if not torch.equal(plain[name], checkpointed[name])]
    counters = {int(v) for k, v in checkpointed.items() if k.endswith('num_batches_tracked') and 'stage2' in k}
    assert counters <= ({0} if case == 'norm eval' else {2})


def test_checkpointing_saves_memory(build: Callable[..., CvT], image: Tensor) -> None:
    sizes = []
    for with_cp in (False, True):
        stored: list[int] = []

        def pack(tensor: Tensor, stored: list[int] = stored) -> Tensor:
            stored.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            build(with_cp=with_cp).train()(image)
        sizes.append(sum(stored))
    assert sizes[1] < sizes[0] / 2


def test_checkpointing_without_gradient(build: Callable[..., CvT], image: Tensor) -> None:
    model = build(with_cp=True).train()
    with torch.no_grad():
        model(image)
    assert {int(b) for n, b in model.named_buffers() if n.endswith('num_batches_tracked')} == {1}


@pytest.fixture
def process_group(tmp_path: Path) -> Iterator[None]:
    torch.distributed.init_process_group('gloo', init_method=f'file://{tmp_path}/group', rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def norm_types(model: CvT) -> set[type]:
    return {type(block.attn.conv_proj_k.bn) for stage in model.stages for block in stage.blocks}


def test_sync_bn_without_a_process_group(build: Callable[..., CvT], image: Tensor) -> None:
    cfg = dict(type='SyncBN', eps=1e-3)
    with pytest.warns(UserWarning, match='SyncBN'):
        model = build(norm_cfg=cfg)
    assert cfg == dict(type='SyncBN', eps=1e-3)
    assert norm_types(model) == {nn.BatchNorm2d}
    assert model.stage0.blocks[0].attn.conv_proj_q.bn.eps == 1e-3
    torch.testing.assert_close(model.train()(image), build(norm_cfg=dict(type='BN', eps=1e-3)).train()(image))


@pytest.mark.usefixtures('process_group')
def test_sync_bn_with_a_process_group(build: Callable[..., CvT]) -> None:
    (norm_type,) = norm_types(build(norm_cfg=dict(type='SyncBN')))
    assert issubclass(norm_type, nn.SyncBatchNorm)  # mmengine's subclass


def test_norm_without_gradient(build: Callable[..., CvT]) -> None:
    model = build(norm_cfg=dict(type='BN', requires_grad=False))
    assert not model.stage0.blocks[0].attn.conv_proj_q.bn.weight.requires_grad
    assert model.stage0.blocks[0].norm1.weight.requires_grad


def test_other_activation(build: Callable[..., CvT]) -> None:
    model = build(act_cfg=dict(type='GELU'))
    assert {type(block.mlp.act) for stage in model.stages for block in stage.blocks} == {nn.GELU}


def test_init_weights_of_norms_without_parameters(build: Callable[..., CvT]) -> None:
    model = build(norm_cfg=dict(type='BN', affine=False))
    model.init_weights()
    assert model.stage0.blocks[0].attn.conv_proj_q.bn.weight is None


def test_init_weights() -> None:
    model = CvT('cvt-nano', out_type='cls_token')
    convolutions = {n: m.weight.clone() for n, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    fill(model)
    for name, weight in convolutions.items():
        model.get_submodule(name).weight.data.copy_(weight)
    model.init_weights()
    linears = [m for m in model.modules() if isinstance(m, nn.Linear)]
    assert len(linears) == 4 * 6
    for linear in linears:
        assert linear.weight.std().item() == pytest.approx(0.02, rel=0.1)
        assert abs(linear.weight.mean().item()) < 0.002
        assert not linear.bias.any()
    for norm in model.modules():
        if isinstance(norm, (nn.LayerNorm, nn.BatchNorm2d)):
            assert (norm.weight == 1).all()
            assert not norm.bias.any()
    assert model.stage2.cls_token.std().item() == pytest.approx(0.02, rel=0.3)
    for name, weight in convolutions.items():
        assert torch.equal(model.get_submodule(name).weight, weight)


WRAPPERS: dict[str, Callable[[dict], dict]] = {
    'plain': lambda state: state,
    'state_dict': lambda state: {'state_dict': state, 'epoch': 3},
    'module': lambda state: {f'module.{key}': value for key, value in state.items()},
    'both': lambda state: {'state_dict': {f'module.{key}': value for key, value in state.items()}},
}


@pytest.mark.parametrize('wrapper', WRAPPERS)
@pytest.mark.parametrize('out_type', ['featmap', 'cls_token'])
def test_pretrained(tmp_path: Path, wrapper: str, out_type: str) -> None:
    """A checkpoint with the official names, classifier included, loads as it is."""
    official = nn.Module()
    for name, child in CvT('cvt-nano', out_type='cls_token').named_children():
        official.add_module(name, child)
    official.head = nn.Linear(128, 10)
    state = make_state(official, seed=7)
    assert {'norm.weight', 'head.bias', 'stage2.cls_token'} < set(state)
    path = tmp_path / 'official.pth'
    torch.save(WRAPPERS[wrapper](state), path)

    model = CvT('cvt-nano', out_type=out_type, init_cfg=dict(type='Pretrained', checkpoint=str(path)))
    model.init_weights()
    loaded = model.state_dict()
    assert set(state) - set(loaded) == {'head.weight', 'head.bias'} | (
        {'norm.weight', 'norm.bias'} if out_type == 'featmap' else set()
    )
    assert all(torch.equal(loaded[key], state[key]) for key in loaded)


def test_official_names() -> None:
    names = set(CvT('cvt-13', out_type='cls_token').state_dict())
    block = 'stage2.blocks.9'
    expected = {f'{block}.{norm}.{kind}' for norm in ('norm1', 'norm2') for kind in ('weight', 'bias')}
    expected |= {f'{block}.attn.proj{part}.{kind}' for part in ('', '_q', '_k', '_v') for kind in ('weight', 'bias')}
    expected |= {f'{block}.mlp.{fc}.{kind}' for fc in ('fc1', 'fc2') for kind in ('weight', 'bias')}
    for part in 'qkv':
        conv = f'{block}.attn.conv_proj_{part}'
        expected |= {f'{conv}.conv.weight', f'{conv}.bn.running_mean', f'{conv}.bn.running_var'}
        expected |= {f'{conv}.bn.weight', f'{conv}.bn.bias', f'{conv}.bn.num_batches_tracked'}
    assert {name for name in names if name.startswith(f'{block}.')} == expected
    outside = {f'stage{i}.patch_embed.{m}.{k}' for i in range(3) for m in ('proj', 'norm') for k in ('weight', 'bias')}
    outside |= {'stage2.cls_token', 'norm.weight', 'norm.bias'}
    assert {name for name in names if '.blocks.' not in name} == outside
