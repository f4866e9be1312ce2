"""What a user does with an installed package, from an empty folder; test_install.py pipes it into a new interpreter."""

import json
import subprocess
import sys
from pathlib import Path

import torch
from mmengine import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

RETINANET = 'det/retinanet/retinanet_cvt-13_fpn_1x_coco.py'
report = {'imported_before': 'cvt_backbone' in sys.modules}

# Inherit a config, as a train.py of any toolbox reads it: nothing has imported cvt_backbone.
Path('mine.py').write_text(
    f"_base_ = __import__('cvt_backbone').config_path('{RETINANET}')\n"
    'model = dict(backbone=dict(window_sizes=(7, 7, None)))\n'
)
report['inherited'] = Config.fromfile('mine.py').model.backbone.to_dict()

from mmengine.hub import get_config as hub_config  # noqa: E402

import cvt_backbone  # noqa: E402
from cvt_backbone import get_config, swap_backbone  # noqa: E402
from cvt_backbone.errors import InputError  # noqa: E402

report['file'] = cvt_backbone.__file__

# Build one model of each toolbox.
report['built'] = {}
for name in (
    'mask-rcnn_cvt-13_fpn_1x_coco',
    'seg/semantic_fpn/semantic-fpn_cvt-13_8xb4-80k_ade20k-512x512.py',
    'cvt-13_8xb256_in1k',
):
    cfg = get_config(name)
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    assert type(model.backbone) is cvt_backbone.CvT
    report['built'][type(model).__name__] = sum(p.numel() for p in model.parameters())

swapped = swap_backbone(get_config('mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'), 'cvt-nano', optim='adamw')
report['swapped'] = [swapped.model.backbone.type, swapped.optim_wrapper.optimizer.type]

# mmengine's own name for a config of a package; once with a metafile, once without.
for inside in (RETINANET, '_base_/models/cvt-13_cls.py'):
    found, expected = hub_config(f'cvt_backbone::{inside}').to_dict(), get_config(inside).to_dict()
    for cfg in (found, expected):
        cfg.pop('backbones', None)  # names a shipped file, which an editable install finds by a link
    assert found == expected
report['hub'] = Path(hub_config(f'cvt_backbone::{RETINANET}').filename).is_file()

Path('scoped.py').write_text("_base_ = 'cvt_backbone::cls/cvt-13_8xb256_in1k.py'\n")
report['refused'] = []
for use in (get_config, lambda name: MODELS.build(Config.fromfile(name).model)):
    try:
        use('scoped.py')
    except InputError as error:
        report['refused'].append(str(error))

# Convert a checkpoint by the console script that pip made.
classifier = torch.nn.Module()
classifier.backbone = cvt_backbone.CvT('cvt-nano', out_type='cls_token').requires_grad_(False)
classifier.head = torch.nn.Linear(128, 7)
state = {name.removeprefix('backbone.'): tensor for name, tensor in classifier.state_dict().items()}
torch.save(state, 'official.pth')
command = [str(Path(sys.executable).with_name('cvt-backbone')), 'convert', 'official.pth', 'mmpretrain.pth']
result = subprocess.run([*command, '--to', 'mmpretrain'], capture_output=True, text=True)
assert result.returncode == 0, result.stderr
written = torch.load('mmpretrain.pth', weights_only=True)
written = written.get('state_dict', written)
report['converted'] = torch.equal(written['head.fc.weight'], state['head.weight']) and len(written) == len(state)

report['finders'] = [name for name in sys.modules if name.startswith('__editable__')]
print(json.dumps(report))
