"""The formats of public CvT checkpoints: how each names its tensors."""

from __future__ import annotations

from .naming import Naming

# github.com/microsoft/CvT, lib/models/cls_cvt.py. PASSL and PaddleClas keep these names.
MICROSOFT = Naming()

# transformers, models/cvt/modeling_cvt.py. The base model, CvtModel, has no prefix, no norm and no classifier.
_HF_QKV = {'q': 'query', 'k': 'key', 'v': 'value'}
HUGGINGFACE = Naming(
    prefix='cvt.',
    stage='encoder.stages.{}.',
    block='layers.{}.',
    modules={
        'patch_embed.proj': 'embedding.convolution_embeddings.projection',
        'patch_embed.norm': 'embedding.convolution_embeddings.normalization',
        'norm1': 'layernorm_before',
        'norm2': 'layernorm_after',
        'attn.proj': 'attention.output.dense',
        'mlp.fc1': 'intermediate.dense',
        'mlp.fc2': 'output.dense',
        **{f'attn.proj_{x}': f'attention.attention.projection_{name}' for x, name in _HF_QKV.items()},
        **{
            f'attn.conv_proj_{x}.{ours}': f'attention.attention.convolution_projection_{name}'
            f'.convolution_projection.{theirs}'
            for x, name in _HF_QKV.items()
            for ours, theirs in (('conv', 'convolution'), ('bn', 'normalization'))
        },
    },
    top={'norm': 'layernorm', 'head': 'classifier'},
)

# PASSL's and PaddleClas's models have the official names; Paddle names BatchNorm's buffers in its own way. PASSL wraps
# backbone and head: the name of its one Linear inside the head is not fixed here, see paddle.py.
PADDLE = Naming(leaves={'running_mean': '_mean', 'running_var': '_variance'})

# PaddleViT, image_classification/CvT/cvt.py: stages in a list, projections numbered in a Sequential.
PADDLE_VIT = Naming(
    stage='stages.{}.',
    modules={
        f'attn.conv_proj_{x}.{module}': f'attn.conv_proj_{x}.{index}'
        for x in 'qkv'
        for index, module in enumerate(('conv', 'bn'))
    },
    leaves=PADDLE.leaves,
)

# timm: the from-scratch port of pull request 2176 (open; timm/models/cvt.py at commit 37323f8).
TIMM = Naming(
    stage='stages.{}.',
    modules={
        'patch_embed.proj': 'conv_embed.conv',
        'patch_embed.norm': 'conv_embed.norm',
        **{f'attn.conv_proj_{x}.{module}': f'conv_proj.conv_{x}.{module}' for x in 'qkv' for module in ('conv', 'bn')},
    },
)

# mmpretrain's ImageClassifier with CvT and LinearClsHead; in mmdet and mmseg the same without this head.
OPENMMLAB = Naming(prefix='backbone.', top={'head': 'head.fc'})
