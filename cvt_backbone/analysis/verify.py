"""Runs the source and the target of a conversion side by side, each in the library it is for."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from ..backbone import CvT
from ..checkpoints import Checkpoint
from ..checkpoints.readers import read_file

SIZE = 96  # pixels; six tokens a side in the last stage


def largest_difference(checkpoint: Checkpoint, src: str, dst: Path, to: str) -> tuple[float | None, str]:
    """The largest difference of logits, or of the last map if there is no head, over two random images.

    Hugging Face files are run by transformers, mmpretrain files by mmpretrain, all others by CvT. If transformers
    takes part, both sides use its GELU.

    Returns:
        The difference and what was compared, or None and what is missing.
    """
    from_port = checkpoint.format == 'huggingface' and (Path(src) / 'config.json').is_file()
    act_cfg = dict(type='GELU' if from_port or to == 'huggingface' else 'QuickGELU')
    x = torch.randn(2, checkpoint.in_channels, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    head = _head(checkpoint)
    try:
        expected = _run_port(src, head, x) if from_port else _run(_own(checkpoint, checkpoint.state, act_cfg), head, x)
        if to == 'huggingface':
            found = _run_port(dst, head, x)
        elif to == 'mmpretrain':
            found = _run_mmpretrain(checkpoint, dst, act_cfg, x)
        else:
            state = read_file(dst)[0]
            found = _run(_own(checkpoint, state.get('state_dict', state), act_cfg), head, x)
    except ImportError as error:
        return None, f'{error.name} is not installed'
    what = f'{"logits" if head else "last map"}, {act_cfg["type"]}, {len(x)} images of {SIZE}x{SIZE}'
    return (expected - found).abs().max().item(), what


def _settings(checkpoint: Checkpoint) -> dict:
    out_type = 'featmap'
    if 'norm.weight' in checkpoint.state:
        out_type = 'cls_token' if checkpoint.arch.cls_token[-1] else 'avg_featmap'
    return dict(arch=checkpoint.arch, in_channels=checkpoint.in_channels, out_type=out_type)


def _own(checkpoint: Checkpoint, state: dict[str, Tensor], act_cfg: dict) -> CvT:
    model = CvT(**_settings(checkpoint), act_cfg=act_cfg)
    model.load_state_dict({name: t for name, t in state.items() if name.startswith(('stage', 'norm.'))})
    return model.eval()


def _head(checkpoint: Checkpoint) -> nn.Module | None:
    if checkpoint.num_classes is None:
        return None
    head = nn.Linear(checkpoint.state['head.weight'].shape[1], checkpoint.num_classes)
    head.load_state_dict({key: checkpoint.state[f'head.{key}'] for key in ('weight', 'bias')})
    return head


def _run(model: CvT, head: nn.Module | None, x: Tensor) -> Tensor:
    out = model(x)[-1]
    return head(out) if head else out


def _run_port(folder: str | Path, head: nn.Module | None, x: Tensor) -> Tensor:
    from transformers import CvtForImageClassification, CvtModel

    if head:
        return CvtForImageClassification.from_pretrained(folder).eval()(x).logits
    return CvtModel.from_pretrained(folder).eval()(x).last_hidden_state


def _run_mmpretrain(checkpoint: Checkpoint, path: Path, act_cfg: dict, x: Tensor) -> Tensor:
    from mmengine.registry import init_default_scope
    from mmengine.runner import load_state_dict
    from mmpretrain.models import ImageClassifier

    init_default_scope('mmpretrain')
    classes, channels = checkpoint.state['head.weight'].shape
    model = ImageClassifier(
        backbone=dict(type='CvT', **_settings(checkpoint), act_cfg=act_cfg),
        head=dict(type='LinearClsHead', num_classes=classes, in_channels=channels),
    )
    state = read_file(path)[0]
    load_state_dict(model, state.get('state_dict', state), strict=True)
    return model.eval()(x)
