"""CvT against the port in transformers, on random weights; nothing is downloaded.

The port is a reference for inference only, and it uses GELU where the official code has QuickGELU.
"""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn

from cvt_backbone import ZOO, CvT
from helpers.golden import fill

transformers = pytest.importorskip('transformers')

ARCHS = {
    'tiny': {'embed_dims': (16, 32, 64), 'depths': (1, 2, 3), 'num_heads': (1, 2, 4)},
    'cvt-13': {key: getattr(ZOO['cvt-13'], key) for key in ('embed_dims', 'depths', 'num_heads')},
}
PARTS = {
    'embedding.convolution_embeddings.projection': 'patch_embed.proj',
    'embedding.convolution_embeddings.normalization': 'patch_embed.norm',
    'attention.attention.projection_': 'attn.proj_',
    'attention.output.dense': 'attn.proj',
    'intermediate.dense': 'mlp.fc1',
    'output.dense': 'mlp.fc2',
    'layernorm_before': 'norm1',
    'layernorm_after': 'norm2',
    'layers.': 'blocks.',
    'proj_query': 'proj_q',
    'proj_key': 'proj_k',
    'proj_value': 'proj_v',
}


def official_name(name: str) -> str:
    """The official name of a tensor of the port."""
    name = name.replace('classifier.', 'head.').replace('cvt.encoder.', '')
    if name.startswith('layernorm.'):
        return name.replace('layernorm.', 'norm.')
    name = re.sub(r'^stages\.(\d+)\.', r'stage\1.', name)
    name = re.sub(
        r'attention\.attention\.convolution_projection_(\w)\w+\.convolution_projection\.',
        r'attn.conv_proj_\1.',
        name,
    )
    name = re.sub(r'(conv_proj_\w)\.convolution\.', r'\1.conv.', name)
    name = re.sub(r'(conv_proj_\w)\.normalization\.', r'\1.bn.', name)
    for theirs, official in PARTS.items():
        name = name.replace(theirs, official)
    return name


def build_port(arch: dict, num_classes: int) -> nn.Module:
    config = transformers.CvtConfig(
        embed_dim=list(arch['embed_dims']),
        num_heads=list(arch['num_heads']),
        depth=list(arch['depths']),
        num_labels=num_classes,
    )
    return fill(transformers.CvtForImageClassification(config), seed=3).eval()


@pytest.mark.parametrize('size', [(224, 224), (97, 131)])
@pytest.mark.parametrize('name', ['tiny', pytest.param('cvt-13', marks=pytest.mark.slow)])
def test_logits(name: str, size: tuple[int, int]) -> None:
    arch, num_classes = ARCHS[name], 10
    port = build_port(arch, num_classes)
    state: dict[str, Tensor] = {official_name(key): value for key, value in port.state_dict().items()}
    assert len(state) == len(port.state_dict())

    ours = CvT(arch, act_cfg=dict(type='GELU'), out_type='cls_token').eval()
    head = nn.Linear(arch['embed_dims'][-1], num_classes)
    head.load_state_dict({key: state.pop(f'head.{key}') for key in ('weight', 'bias')})
    ours.load_state_dict(state)

    x = torch.randn(2, 3, *size)
    with torch.no_grad():
        expected = port(x).logits
        logits = head(ours(x)[-1])
    assert expected.std() > 0.1
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-4)
