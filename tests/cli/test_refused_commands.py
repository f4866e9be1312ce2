"""Command lines that are refused: one line on stderr, status 2, nothing written. A row each, in one process."""

import re
import runpy
import shlex
import shutil
import sys
from importlib import import_module

import numpy as np
import pytest
import torch
from PIL import Image

from cvt_backbone import cli
from helpers import ROOT
from helpers.foreign import Classifier, write_torch
from helpers.spoilt_data import (
    COLOURS,
    GREY,
    ann,
    class_of_val,
    coco,
    flat_masks,
    gone,
    image,
    listing,
    make_digits,
    make_layouts,
    no_image,
    no_masks,
    no_supervision,
    one_mask_less,
    other_name,
    text,
)
from helpers.tool_parts import make_model
from helpers.tools import call

for package in ('mmdet', 'mmseg', 'mmpretrain', 'sklearn'):
    pytest.importorskip(package)

MASKS = 'mask-rcnn_cvt-nano_fpn_digits'
BOXES = 'retinanet_cvt-nano_fpn_digits'
SEGMENTOR = 'semantic-fpn_cvt-nano_digits'
CLASSIFIER = 'cvt-nano_1xb64_digits'
COCO = 'mask-rcnn_cvt-13_fpn_1x_coco'
RPN = """
_base_ = 'base.py'
default_scope = 'mmdet'
model = dict(
    type='RPN',
    neck=dict(type='FPN', in_channels=[8, 16, 32, 64], out_channels=8, num_outs=5),
    rpn_head=dict(type='RPNHead', in_channels=8, feat_channels=8))
"""
ARCH_13 = 'model.backbone.arch=cvt-13 model.neck.in_channels=[64,192,384]'
ON_CPU = '-o out --device cpu'
INT8 = f'{SEGMENTOR} seg.pth --format openvino -o x.xml --int8'

# The command and its words in a folder with the files below; what the line says after "error: ".
ROWS = [
    ('train', 'no_such_config.py', r'config: no_such_config\.py does not exist'),
    ('train', f'{COCO} --cfg-options data_root=/nowhere', 'data_root: the train data'),
    ('train', f'{SEGMENTOR} --cfg-options data_root=digits auto_scale_lr={{}} --auto-scale-lr --work-dir empty',
     r'--auto-scale-lr: the config has no auto_scale_lr\.base_batch_size'),
    ('train', f'{SEGMENTOR} --cfg-options data_root=digits --resume no.pth --work-dir empty',
     r'--resume: no\.pth does not exist'),
    ('flops', 'cvt-13_8xb256_in1k --cfg-options model.backbone.window_sizes=3',
     'window_sizes must be None or a sequence with one entry per stage, got 3$'),
    ('flops', f'{SEGMENTOR} --cfg-options model.backbone.window_size=3',
     r'config: CvT has no argument window_size; did you mean window_sizes\?$'),
    ('train', f'{SEGMENTOR} --cfg-options data_root=digits model.backbone.depth=50',
     'config: CvT has no argument depth; it has arch, in_channels, '),
    ('train', f'{SEGMENTOR} --cfg-options data_root=digits model.pretrained=open-mmlab://resnet50_v1c',
     r'config: model\.pretrained belongs to the old backbone; set it to None'),
    ('train', f'{SEGMENTOR} --cfg-options data_root=digits optim_wraper.optimizer.lr=1',
     r'--cfg-options: the config has no optim_wraper; did you mean optim_wrapper\?$'),
    ('train', f'{SEGMENTOR} --cfg-options foo', "argument --cfg-options: 'foo' must be KEY=VALUE; see "),
    ('swap', f'{SEGMENTOR} --options foo', "argument --options: 'foo' must be KEY=VALUE; see "),
    ('test', f'{SEGMENTOR} seg.pth --show', 'unrecognized arguments: --show; see '),
    ('demo', '--cfg-options data_root=/nowhere/digits', 'cvt-backbone digits /nowhere/digits$'),
    ('test', f'{COCO} no.pth --cfg-options data_root=/nowhere', 'data_root: the test data'),
    ('list', 'det --weights', '--weights: all published weights are of classifiers; leave out det$'),
    ('predict', f'{SEGMENTOR} seg.pth empty {ON_CPU}', 'images: empty holds no image'),
    ('predict', f'{SEGMENTOR} seg.pth images -o out --device gpu0', r'--device: gpu0 cannot be used here \('),
    ('explain', f'{SEGMENTOR} seg.pth images/a.jpg -o out --device gpu0', r'--device: gpu0 cannot be used here \('),
    ('predict', f'{SEGMENTOR} seg.pth images {ON_CPU} --score-thr 30', '--score-thr: must lie between 0 and 1'),
    ('predict', f'{SEGMENTOR} seg.pth nowhere {ON_CPU}', 'images: nowhere does not exist'),
    ('predict', f'{SEGMENTOR} seg.pth twins {ON_CPU}', r'a\.png would overwrite each other; rename one'),
    ('predict', f'{SEGMENTOR} seg.pth images -o file/out --device cpu', '--out: cannot write into'),
    ('predict', f'{SEGMENTOR} seg.pth images/a.jpg -o out.jpg',
     'argument -o/--out: out.jpg is the name of a picture; name a folder, such as out; see '),
    ('predict', f'{SEGMENTOR} garbage.pth images {ON_CPU}', r'garbage\.pth is no checkpoint'),
    ('predict', f'{SEGMENTOR} other.pth images {ON_CPU}',
     r'is not this CvT, or not a whole one; nothing was loaded\. stray \(1\): weight'),
    ('predict', f'{SEGMENTOR} seg.pth images {ON_CPU} --cfg-options {ARCH_13}',
     r'stage0\.patch_embed\.proj\.weight \(32, 3, 7, 7\) instead of \(64, 3, 7, 7\)'),
    ('predict', f'{MASKS} seg.pth images {ON_CPU}',  # ten names of each kind
     r'is not of the model of this config: stray (.*, ){10}\.\.\.; missing (.*, ){10}\.\.\..*(neck\.|_head)?'),
    ('predict', f'scope.py seg.pth images {ON_CPU}',
     "default_scope must be one of mmdet, mmseg, mmpretrain, got 'mmpose'"),
    ('predict', f'{SEGMENTOR} seg.pth images {ON_CPU} --cfg-options test_dataloader=None',
     'config: test_dataloader is missing, whose pipeline prepares the image'),
    ('predict', f'{SEGMENTOR} seg.pth images {ON_CPU} --cfg-options visualizer=None',
     'config: visualizer is missing, which draws'),
    ('swap', 'rpn.py --arch cvt-14 -o x.py', r"--arch, --options: arch='cvt-14' is not in the zoo"),
    ('swap', 'rpn.py --options depth=50 -o x.py', '--arch, --options: .*depth'),
    ('swap', "rpn.py --options 'out_indices=(0,)' -o x.py", '--arch, --options: out_indices is settled by the swap'),
    ('swap', 'missing.py -o x.py', r'config: missing\.py does not exist; did you mean ([^,]+, ){3}[^,]+ or [^,]+\?$'),
    ('swap', 'broken.py -o x.py', r'config: .*broken\.py cannot be read: SyntaxError'),
    ('swap', 'base.py -o x.py', r'base\.py cannot take CvT: default_scope: the config names no toolbox'),
    ('swap', 'mmfoo::a.py -o x.py', 'config: mmfoo:: is unknown; choose one of mmdet::, mmseg::, mmpretrain::'),
    ('swap', 'mmdet::retinanet/retinanet_r50_fpn_1x_coc.py -o x.py',
     r'did you mean .*/retinanet_r50_fpn_1x_coco\.py'),
    ('swap', 'rpn.py -o nowhere/x.py', 'cannot write into .*nowhere'),
    ('swap', 'rpn.py -o x', r'must end in \.py'),
    ('swap', 'rpn.py -o there.py', r'--out: there\.py exists; give another name, or --force'),
    ('swap', 'rpn.py -o x.py --pretrained no.pth',
     r'--pretrained: no\.pth does not exist; give a file, a folder, an address or None$'),
    ('convert', 'no.pth o.pth --to official', 'cannot be read: No such file'),
    ('convert', 'nano.pth nano.pth --to official', 'exists; give --force'),
    ('convert', 'nano.pth o.bin --to official', r'must end in \.pth or \.safetensors'),
    ('convert', 'nano.pth o.pth --to huggingface', 'huggingface writes a folder'),
    ('convert', 'nano.pth no/o.pth --to official', 'is no folder; make it first'),
    ('convert', 'nano.pth o.pth --to official --arch cvt-31', 'choose one of cvt-nano, cvt-13'),
    ('convert', """nano.pth o.pth --to official --arch '{"depths"'""", 'neither a name of the zoo nor JSON'),
    ('convert', 'nano.pth o.pth --to official --arch cvt-13', 'nothing was loaded'),
    ('convert', 'nano.pth o.pth --to timm', "to='timm' is not a target; choose one of official"),
    ('convert', 'nano.pth --to official', 'DST is missing'),
    ('convert', 'nano.pth o.pth --to official --in-channels 0', 'must be at least 1, got 0'),
    ('convert', 'nan.pth o.pth --to official --strict-finite', r'NaN or infinity in 1 tensor'),
    ('convert', 'body.pth o.pth --to official', 'convert them to backbone'),
    ('convert', 'body.pth o.pth --to mmpretrain --num-classes 3', 'a new head needs the final norm'),
    ('export', f'{SEGMENTOR} seg.pth --format onnx --int8 images -o x.onnx', '--int8: onnx files are not quantised'),
    ('export', f'{INT8} nowhere', '--int8: images: nowhere does not exist'),
    ('export', f'{INT8} empty', '--int8: images: empty holds no image'),
    ('export', f'{INT8} spoilt', r'--int8: image: spoilt/a\.jpg: not a readable image'),
    ('export', f'{INT8} images --size 64 64', r'--int8: images/a\.jpg has \d+x\d+ pixels after .*; give a --size that'),
    ('new', f'{MASKS} --train layouts/coco --val layouts/coco -o x.txt', r'--out: .*must end in \.py'),
    ('new', f'{MASKS} --train layouts/coco --val layouts/coco -o there.py',
     r'--out: there\.py exists; give another name, or --force'),
    ('new', f'{MASKS} --train layouts/coco --val layouts/coco -o folder.py --force', r'--out: folder\.py exists'),
    ('new', f'{MASKS} --train layouts/coco --val layouts/coco -o no/where.py', '--out: cannot write into .*no '),
]  # fmt: skip

# A command without what it needs, given to `cvt-backbone` and to its script; the line names what came.
OF_EACH = {
    'train': ('train.py', 'nothing'),
    'test': ('test.py', 'nothing x.pth'),
    'predict': ('predict.py', 'nothing x.pth images -o out'),
    'explain': ('explain.py', 'nothing x.pth x.jpg -o out'),
    'demo': ('demo.py', 'nothing'),
    'digits': ('make_digits.py', 'digits --train 0'),
    'new': ('new_config.py', 'nothing --train nothing --val nothing -o x.py'),
    'swap': ('swap_backbone.py', 'nothing -o x.py'),
    'convert': ('convert_checkpoint.py', 'nothing.pth x.pth --to official'),
    'export': ('export.py', 'nothing --format torchscript --size 64 64 -o x.pt'),
    'flops': ('get_flops.py', 'nothing'),
    'benchmark': ('benchmark.py', '--sizes 224'),
    'imagenet-labels': ('imagenet_labels.py', 'v2 nothing x.txt'),
    'report': ('report.py', 'nothing --by somebody'),
}

NO_DATA = str(ROOT / 'configs/_base_/models/cvt-13_cls.py')
MASK2FORMER = 'mask2former_cvt-13_8xb2-lsj-50e_coco'
PATHS = 'train: images/train\nval: images/val\n'
LABEL = 'yolo/labels/val/00001.txt'
# Of `new`: the config, the folder of the data and more options; what is spoilt first; the message.
NEW = [
    ('mask-rcnn_cvt-13_fpn coco', None, 'does not exist; did you mean'),
    (f'{NO_DATA} coco', None, 'has no model|config: '),
    ('panoptic-fpn_cvt-13_fpn_1x_coco coco', None, 'semantic or panoptic map'),
    (f'{MASKS} nothing', None, '--train: .*nothing does not exist'),
    (f'{MASKS} coco --images no/images', None, '--images: no/images does not exist'),
    (f'{MASKS} coco --batch 0', None, '--batch: must be at least 1, got 0'),
    (f'{MASKS} coco --batch all', None, "--batch: invalid int value: 'all'"),
    (f'{MASKS} coco --classes {"x" * 256},one', None, '--classes: x+ is not in'),  # longer than a file name may be
    (f'{MASKS} coco --classes one,two,one', None, '--classes: needs names, each once'),
    (f'{MASKS} coco --classes ten', None, '--classes: ten is not in .*zero, one, two'),
    (f'{MASKS} coco --preview d/p', text('p', ''), '--preview: d/p is a file'),
    (f'{MASKS} coco --preview d', None, '--preview: d has other files .* cls'),
    (f'{MASKS} coco --preview no/where', None, '--preview: no does not exist'),
    (f'{MASKS} coco', gone('coco/annotations'), '--train: .*coco holds no boxes: neither COCO'),
    (f'{MASKS} coco', text(ann(), '{"images": ['), r'train2026\.json is not JSON'),
    (f'{MASKS} coco', text(ann(), '{"images": []}'), 'has no list annotations and no list categories'),
    (f'{MASKS} coco', no_image, '--val: none of the first 4 images'),
    (f'{MASKS} coco', coco(other_name), r'1 of 8 images are not there: .*x\.jpg'),
    (f'{MASKS} coco', coco(one_mask_less), r'1 of \d+ boxes have no mask'),
    (f'{MASKS} coco', coco(flat_masks), r'masks of the train data .* are neither a list of polygons'),
    (f'{BOXES} coco', coco(lambda c: c['annotations'].clear()), 'nothing is left of the train data'),
    (f'{MASK2FORMER} coco', no_masks, 'no box has a mask, and Mask2Former cannot do without'),
    (f'{BOXES} voc', gone('voc/ImageSets'), '--val: .*voc gives the same data as --train'),
    (f'{BOXES} voc', text('voc/Annotations/val_00001.xml', '<a>'), r'val_00001\.xml cannot be read as Pascal VOC'),
    (f'{BOXES} voc', no_supervision, r'supervision is not installed; install it: pip install "cvt_backbone\[data\]"'),
    (f'{BOXES} yolo', text(LABEL, '10 .5 .5 .1 .1'), r'00001\.txt has the class 10, but there are 10'),
    (f'{BOXES} yolo', text(LABEL, '1 .5 .5'), r'00001\.txt cannot be read as YOLO'),
    (f'{BOXES} yolo', text('yolo/data.yaml', PATHS), r'no data\.yaml or classes\.txt'),
    (f'{BOXES} yolo', text('yolo/data.yaml', f'{PATHS}names: [a]\nkpt_shape: [1, 2]\n'), r'describes keypoints'),
    (f'{BOXES} yolo', text('yolo/data.yaml', 'train: none\nnames: [a]\n'), 'names none as train, which'),
    (f'{BOXES} voc --val d/yolo', None, '--val: one split is Pascal VOC and the other YOLO'),
    (f'{BOXES} coco', text('coco/annotations/instances_train2027.json', '{}'), 'has several annotation files: .*2027'),
    (f'{SEGMENTOR} seg', gone('seg/masks/val'), '--val: there is .*images/val, but no .*masks/val'),
    (f'{SEGMENTOR} seg', image('seg/masks/val/00001.png', GREY), r'00001\.png is 9x9 pixels, but'),
    (f'{SEGMENTOR} seg', image('seg/masks/val/00001.png', COLOURS), r'00001\.png has colours \(mode RGB\)'),
    (f'{SEGMENTOR} seg --classes a,b,c', None, r'has the label id \d+, but --classes names 3 classes'),
    (f'{SEGMENTOR} seg', image('seg/images/val/x.png', GREY), 'images of several suffixes'),
    (f'{SEGMENTOR} seg/masks/val --images d/seg/images', None, 'gives the same data'),
    (f'{SEGMENTOR} {ann()}', None, 'is no folder; a segmentor needs a folder of masks'),
    (f'{SEGMENTOR} cls', None, '--train: .*cls has no images and masks side by side'),
    (f'{CLASSIFIER} cls', class_of_val, '--val: class new is in only one of'),
    (f'{CLASSIFIER} coco/annotations', None, '--val: .*annotations gives the same data as --train'),
    (f'{CLASSIFIER} {ann()}', None, 'is no folder; a classifier needs FOLDER/CLASS/IMAGE'),
    (f'{CLASSIFIER} cls --images d', None, '--images, --classes: a classifier takes both'),
]


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A folder with the files that the rows name; no row changes it."""
    folder = tmp_path_factory.mktemp('place')
    make_layouts(make_digits(folder / 'digits'), folder / 'layouts')
    for name in ('empty', 'folder.py', 'images', 'spoilt', 'twins'):
        (folder / name).mkdir()
    texts = {
        'there.py': 'precious',
        'file': '',
        'spoilt/a.jpg': 'no image',
        'garbage.pth': 'no checkpoint',
        'broken.py': 'model = dict(\n',
    }
    texts['scope.py'] = "default_scope = 'mmpose'\nmodel = dict()\n"
    texts['base.py'] = "model = dict(backbone=dict(type='ResNet', depth=18, base_channels=8, norm_eval=True))\n"
    for name, content in {**texts, 'rpn.py': RPN}.items():
        (folder / name).write_text(content)
    for name in ('images/a.jpg', 'twins/a.jpg', 'twins/a.png'):
        Image.fromarray(np.zeros((72, 96, 3), np.uint8)).save(folder / name)
    state = Classifier('cvt-nano').official()
    write_torch(folder / 'nano.pth', state)
    write_torch(folder / 'nan.pth', {**state, 'head.bias': torch.full((7,), torch.nan)})
    write_torch(folder / 'body.pth', {k: v for k, v in state.items() if k.startswith('stage')})
    write_torch(folder / 'other.pth', {'weight': torch.ones(1)})
    make_model(SEGMENTOR, folder / 'seg.pth')
    return folder


@pytest.fixture
def refuse(monkeypatch, capfd):
    """Call something that must end with status 2 and one line about an error, which is returned."""

    def run(function, *args):
        capfd.readouterr()
        assert function(monkeypatch, *args) == 2
        error = capfd.readouterr().err
        assert 'Traceback' not in error
        (line,) = [line for line in error.splitlines() if line.startswith('error: ')]
        return line

    return run


def command(monkeypatch, name, words):
    module = import_module(f'cvt_backbone.cli.{name.replace("-", "_")}')
    return call(monkeypatch, module, *shlex.split(words))


def script(monkeypatch, name, words):
    monkeypatch.setattr(sys, 'argv', ['', *shlex.split(words)])  # run_path puts the path there
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / 'tools' / name))
    return stop.value.code


@pytest.mark.parametrize(('name', 'words', 'message'), ROWS, ids=[' '.join(row[:2]) for row in ROWS])
def test_refused(name, words, message, place, monkeypatch, refuse):
    if words.startswith(INT8):
        pytest.importorskip('nncf')
    monkeypatch.chdir(place)
    before = listing(place)
    assert re.search(f'^error: .*{message}', refuse(command, name, words))
    assert listing(place) == before


@pytest.mark.parametrize('name', OF_EACH)
def test_command_and_its_script_say_the_same(name, tmp_path, monkeypatch, refuse):
    monkeypatch.chdir(tmp_path)
    file, words = OF_EACH[name]
    line = refuse(command, name, words)
    assert re.search('nothing|224|train', line)
    assert refuse(script, file, words) == line
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(('args', 'spoil', 'message'), NEW, ids=[f'{i}: {args}' for i, (args, *_) in enumerate(NEW)])
def test_new(args, spoil, message, place, tmp_path, monkeypatch, refuse):
    """Each row gets the data anew."""
    config, folder, *options = args.split()
    shutil.copytree(place / 'layouts', tmp_path / 'd', symlinks=True)
    if spoil is no_supervision:
        monkeypatch.setitem(sys.modules, 'supervision', None)
    elif spoil:
        spoil(tmp_path / 'd')
    if folder in ('voc', 'yolo') and spoil is not no_supervision:
        pytest.importorskip('supervision')
    monkeypatch.chdir(tmp_path)
    before = listing(tmp_path)
    words = [config, '--train', f'd/{folder}', '--val', f'd/{folder}', *options, '-o', 'x.py']
    assert re.search(message, refuse(command, 'new', shlex.join(words)))
    assert listing(tmp_path) == before


def test_unknown_command(refuse):
    line = refuse(call, cli, 'trian')
    assert re.fullmatch(r"error: 'trian' is not a command; did you mean 'train'\? The commands: list, train, .*", line)


def test_every_command_is_tried():
    assert set(OF_EACH) | {'list'} == set(cli.COMMANDS)
    assert {file for file, _ in OF_EACH.values()} == {path.name for path in (ROOT / 'tools').glob('*.py')}
