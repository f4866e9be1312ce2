"""Whole detectors through mmdeploy, where it is installed (1.3.1, beside the original OpenMMLab)."""

import re
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torchvision.ops import box_iou

from helpers import ROOT
from helpers.tool_parts import make_model

pytest.importorskip('mmdeploy')

# Settings that mmdeploy has, too, and the share of detections that must be the same: of random weights proposals are
# nearly equal, so that the two suppressions choose among them.
DETECTORS = {
    'retinanet_cvt-nano_fpn_digits': ('test_cfg=dict(score_thr=0.05)', 0.8),
    'mask-rcnn_cvt-nano_fpn_digits': ('test_cfg=dict(rcnn=dict(score_thr=0.05, nms=dict(class_agnostic=False)))', 0.6),
}
LAST_LINES = """
import torch
from mmdet.apis import inference_detector, init_detector

expected = inference_detector(init_detector('config.py', CHECKPOINT, device='cpu'), IMAGE).pred_instances
torch.save([[x.bboxes, x.scores, x.labels] for x in (expected, found)], 'found.pth')
"""


@pytest.mark.parametrize(
    'settings',
    [
        {},
        dict(scale=0.3),
        dict(is_causal=True),
        dict(attn_mask=torch.eye(5, 7).bool() | (torch.arange(7) > 3)),
        dict(attn_mask=torch.linspace(-2, 2, 35).view(5, 7)),
    ],
    ids=['plain', 'scale', 'causal', 'mask', 'bias'],
)
def test_attention_as_written_out(settings):
    """Other models' attention passes through it, too."""
    from cvt_backbone.export.mmdeploy import scaled_dot_product_attention

    q, k, v = torch.randn(3, 2, 2, 7, 4)
    found = scaled_dot_product_attention(q[:, :, :5], k, v, **settings)
    torch.testing.assert_close(found, F.scaled_dot_product_attention(q[:, :, :5], k, v, **settings))


@pytest.mark.slow
@pytest.mark.parametrize('windows', ['None', '(16, 8, 4)'])
@pytest.mark.parametrize('detector', DETECTORS)
def test_the_file_detects_what_the_model_detects(detector, windows, tmp_path):
    """As docs/howto/mmdeploy.md says."""
    settings, share = DETECTORS[detector]
    blocks = re.findall(r'```python\n(.*?)```', (ROOT / 'docs/howto/mmdeploy.md').read_text(), re.S)
    config, deploy, script = blocks
    config = config.replace('configs/demo/mask-rcnn_cvt-nano_fpn_digits.py', f'{ROOT}/configs/demo/{detector}.py')
    config = config.replace('init_cfg=None)', f'init_cfg=None, window_sizes={windows}), {settings}')
    (tmp_path / 'config.py').write_text(config)
    (tmp_path / 'deploy.py').write_text(deploy if detector.startswith('mask') else deploy.replace(", 'masks'", ''))
    make_model(tmp_path / 'config.py', tmp_path / 'model.pth')
    pixels = np.random.default_rng(0).integers(0, 256, (160, 160, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'image.png')
    (tmp_path / 'script.py').write_text(f"IMAGE, CHECKPOINT = 'image.png', 'model.pth'\n{script}{LAST_LINES}")
    subprocess.run([sys.executable, 'script.py'], check=True, cwd=tmp_path)
    expected, found = (list(map(torch.as_tensor, values)) for values in torch.load(tmp_path / 'found.pth'))
    same = box_iou(expected[0], found[0]) > 0.99
    same &= (expected[1][:, None] - found[1]).abs() < 1e-3
    same &= expected[2][:, None] == found[2]
    assert len(expected[0]) > 10
    assert same.any(1).float().mean() > share
