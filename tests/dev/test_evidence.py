"""tools/dev/evidence.py: what each question runs, in which order, and what its page says."""

import shutil
from pathlib import Path

import matplotlib.image
import pytest
import torch
from mmengine.config import Config

pytest.importorskip('mmdet')
pytest.importorskip('mmpretrain')
pytest.importorskip('mmseg')

import evidence
import evidence_cells
import evidence_patterns as patterns
import evidence_peers as peers
import evidence_pooling  # noqa: F401 - registers the neck

from cvt_backbone.analysis import trial
from cvt_backbone.models import build, build_initialised


def figures(name):
    """What a run logs: more from pretrained weights, less in smaller windows, and of the lrs the second is best."""
    if name in ('swin_random_lr0.004', 'convnext_random_seed1'):
        return 3  # diverged
    if 'classifier' in name:
        return {'accuracy/top1': 97.0 + name.endswith('lr0.001')}
    value = 0.5 + 0.1 * ('_pretrained' in name) - 0.05 * name.startswith('w8') + 0.02 * ('lr0.002' in name)
    value += 0.01 * name.endswith('seed1') - 0.2 * ('_as-' in name) - 0.1 * name.startswith('resnet')
    return {'coco/bbox_mAP': value + 0.1, 'coco/segm_mAP': value}


@pytest.fixture
def call(evidence_tool):
    """Run the tool with trainings that only log."""
    return evidence_tool(figures)


def rows_of(text, start):
    return [line.strip('| ').split(' | ') for line in text.splitlines() if line.startswith(f'| {start}')]


@pytest.mark.slow
def test_windows_equal_global_attention_at_the_size_of_pretraining():
    """On the config that is trained, with the shipped weights; at its own size they differ."""
    maps = {}
    for pattern in patterns.PATTERNS:
        if pattern.windows not in (None, patterns.ALIKE, (8, 4, 2)):
            continue
        cfg = patterns.training(Path('x'), pattern, patterns.PRETRAINED, 0).cfg
        backbone = build_initialised(cfg).backbone.eval()
        assert backbone.arch.token_grids(64) == patterns.ALIKE
        for side in (64, patterns.SIDE):
            image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
            with torch.no_grad():
                maps[pattern.windows, side] = backbone(image)
    for alike, other in zip(maps[patterns.ALIKE, 64], maps[None, 64], strict=True):
        torch.testing.assert_close(alike, other)
    assert not torch.allclose(maps[(8, 4, 2), 64][-1], maps[None, 64][-1], atol=1e-2)
    assert not torch.allclose(maps[patterns.ALIKE, 160][-1], maps[None, 160][-1], atol=1e-2)


@pytest.mark.slow
def test_windows_runs(call, tmp_path):
    names = call('windows', '--jobs', 1)
    assert len(names) == len(set(names)) == 2 * (2 * 5 + 2 * 5) + 1 + 2 * 4 + 2 * 2 + 5 + 4 + 2
    assert names[:5] == [f'{pattern.name}_pretrained_seed0' for pattern in patterns.PATTERNS]
    assert names[5] == 'global_pretrained_seed1'
    assert names[10:16] == [
        'w16-8-g_pretrained_seed0_as-global', 'w16-8-4g_pretrained_seed0_as-global',
        'w16-8-4_pretrained_seed0_as-global', 'w8-4-2_pretrained_seed0_as-global',
        'global_pretrained_seed0_as-w16-8-4', 'w16-8-g_pretrained_seed1_as-global',
    ]  # fmt: skip
    text = (tmp_path / 'docs/windows.md').read_text()
    row = rows_of(text, '(8, 4, 2)')
    assert [cells[1:4] for cells in row] == [
        ['2', '0.655 ± 0.007', '0.555 ± 0.007'], ['2', '0.555 ± 0.007', '0.455 ± 0.007'],
    ]  # fmt: skip
    assert row[0][5] == '0.50'
    assert float(row[0][4]) < float(rows_of(text, 'global')[0][4])
    assert 'cheapest pattern within 0.010 of global (0.01 AP or its standard deviation) is (16, 8, 4)' in text
    assert '| the digits classifier | global | (16, 8, 4) | 2 | 0.705 ± 0.007 | 0.500 ± 0.000 |' in text
    assert 'not run' not in text.split('## Set-up')[1].split('What it does not mean')[0]
    assert matplotlib.image.imread(tmp_path / 'docs/windows.png').std() > 0.05
    assert names[20:25] == [f'{pattern.name}_random_seed0' for pattern in patterns.PATTERNS]
    assert names[40:45] == ['deep_classifier', *(f'{p.name}_deep_seed0' for p in patterns.DEEP.patterns)]
    # What is beyond the budget comes last.
    assert names[49:53] == [f'{name}_320px_seed{seed}' for seed in (0, 1) for name in ('global', 'w16-8-4')]
    assert names[53:55] == ['global_pretrained_time', 'w16-8-g_pretrained_time']
    assert names[-1] == 'w16-8-4_320px_time'
    assert len(list((tmp_path / 'docs/runs/windows').iterdir())) == 64
    shutil.rmtree(tmp_path / 'work')
    assert call('windows') == names, 'nothing is repeated'
    (tmp_path / 'docs/runs/windows/global_random_seed1_as-w16-8-4.yml').unlink()
    again = call('windows')[len(names) :]
    assert again == ['global_random_seed1', 'global_random_seed1_as-w16-8-4'], 'its checkpoint is lost'


@pytest.mark.slow
def test_page_says_how_far_repeated_runs_lie_apart(call, tmp_path):
    call('windows', '--jobs', 1, '--most', 31)
    assert 'were repeated' not in (tmp_path / 'docs/windows.md').read_text()
    note = tmp_path / 'docs/runs/windows/global_random_seed1.yml'
    (note.parent / 'first').mkdir()
    (note.parent / 'first' / note.name).write_text(note.read_text().replace('mask AP: 0.51', 'mask AP: 0.48', 1))
    call('windows', '--most', 0)
    assert 'differs by up to\n  0.030 from random weights (runs: 1).' in (tmp_path / 'docs/windows.md').read_text()


def test_windows_config_differs_in_windows_only():
    first, other = (patterns.training(Path('x'), pattern, patterns.RANDOM, 1).cfg for pattern in patterns.PATTERNS[:2])
    assert other.model.backbone.window_sizes == (16, 8, None)
    assert first.model.backbone.init_cfg is None
    other.model.backbone.window_sizes = None
    assert first.to_dict() == other.to_dict()
    job = patterns.evaluation(Path('x'), patterns.LAST_GLOBAL, patterns.GLOBAL, patterns.RANDOM, 1)
    assert job.checkpoint == Path('x/w16-8-g_random_seed1/epoch_5.pth').resolve()
    assert job.cfg.model.backbone.window_sizes is None


@pytest.mark.slow
@pytest.mark.parametrize('question', evidence.QUESTIONS)
def test_page_before_any_run(call, tmp_path, question):
    assert call(question, '--most', 0) == []
    text = (tmp_path / 'docs' / f'{question}.md').read_text()
    assert 'No run has ended yet.' in text
    assert 'not all rows have been run' in text
    assert '.png' not in text
    assert text.count('not run') > 20
    assert [path.name for path in (tmp_path / 'docs').iterdir()] == [f'{question}.md']


@pytest.mark.slow
@pytest.mark.parametrize('name', peers.PEERS)
def test_peers_are_of_one_size(name):
    """Parameters of the backbone, strides and channels, in the detector; the classifier trains all of it."""
    peer = peers.PEERS[name]
    parameters, macs = evidence_cells.backbone_cost(peer.backbone, (160, 160))
    assert 0.5e6 <= parameters <= 0.6e6
    assert 0.02e9 < macs < 0.2e9
    detector = peers.detector(Path('x'), name, 'random', 1e-3, 0, Path('x'))
    model = build(detector.cfg)
    maps = model.backbone(torch.zeros(2, 3, 64, 96))
    assert [tuple(m.shape[1:]) for m in maps] == [
        (channels, 64 // stride, 96 // stride) for channels, stride in zip(peer.channels, (4, 8, 16), strict=True)
    ]
    assert [tuple(m.shape[1:]) for m in model.neck(maps)] == [(64, 16, 24), (64, 8, 12), (64, 4, 6)]
    classifier = build(peers.classifier(Path('x'), name, 1e-3).cfg)
    assert classifier.extract_feat(torch.zeros(2, 3, 64, 64))[-1].shape == (2, peer.channels[-1])
    own, source = (set(m.backbone.state_dict()) for m in (model, classifier))
    assert own <= source
    assert all(parameter.requires_grad for parameter in model.backbone.parameters())


def test_peers_choose_lr_by_another_split_than_they_are_judged_by():
    chosen, judged = (
        peers.choice(Path('x'), 'swin', 'random', 4e-3, Path('x')),
        peers.detector(Path('x'), 'swin', 'random', 4e-3, 0, Path('x')),
    )
    for job, split, epochs in ((chosen, 'tune', 2), (judged, 'val', 5)):
        for loader, evaluator in ((job.cfg.val_dataloader, job.cfg.val_evaluator),
                                  (job.cfg.test_dataloader, job.cfg.test_evaluator)):  # fmt: skip
            assert loader.dataset.ann_file == f'annotations/instances_{split}.json'
            assert loader.dataset.data_prefix == dict(img=f'images/{split}/')
            assert evaluator.ann_file == f'x/digits/annotations/instances_{split}.json'
        assert job.cfg.train_dataloader.dataset.ann_file == 'annotations/instances_train.json'
        assert (job.cfg.train_cfg.max_epochs, job.cfg.param_scheduler[1].T_max) == (epochs, epochs)
        assert job.cfg.optim_wrapper.optimizer.lr == 4e-3
    assert peers.classifier(Path('x'), 'swin', 1e-3).cfg.val_dataloader.dataset.data_prefix == 'tune'


@pytest.mark.slow
def test_peers_runs(call, tmp_path):
    names = call('peers', '--jobs', 1)
    assert len(names) == len(set(names)) == 15 + 30 + 20 + 5
    assert names[-5:] == [f'{peer}_time' for peer in peers.PEERS]
    assert names[:15] == [f'{peer}_classifier_lr{lr}' for peer in peers.PEERS for lr in ('0.0005', '0.001', '0.002')]
    assert names[15:18] == ['cvt_pretrained_lr0.001', 'cvt_pretrained_lr0.002', 'cvt_pretrained_lr0.004']
    assert names[30:36] == [*(f'{peer}_pretrained_seed0' for peer in peers.PEERS), 'cvt_pretrained_seed1']
    assert names[40] == 'cvt_random_lr0.001'
    config = Config.fromfile(tmp_path / 'work/peers/cvt_pretrained_seed1/config/cvt_pretrained_seed1.py')
    assert config.load_from == str(tmp_path / 'work/peers/cvt_classifier_lr0.001/iter_2000.pth')
    assert config.optim_wrapper.optimizer.lr == 2e-3
    text = (tmp_path / 'docs/peers.md').read_text()
    assert [row[3:] for row in rows_of(text, 'ResNet') if len(row) == 8] == [
        ['0.002', '2', '0.605 ± 0.007', '0.505 ± 0.007', '0.50'],
        ['0.002', '2', '0.505 ± 0.007', '0.405 ± 0.007', '0.50'],
    ]  # fmt: skip
    assert '| random weights | ResNet (mmdet), 2, 2, 2 basic blocks | 0.400 | 0.420 | 0.400 |' in text
    assert '| random weights | Swin (mmdet), 2, 2, 2 blocks, windows of 7 | 0.500 | 0.520 | 0.000 |' in text
    assert '| ConvNeXt (mmpretrain), 2, 2, 3 blocks | 97.00 | 98.00 | 97.00 |' in text
    assert rows_of(text, 'ConvNeXt')[1][3:] == ['0.002', '2', '0.300 ± 0.424', '0.250 ± 0.354', '0.50']
    assert 'not run' not in text.split('## Set-up')[1].split('What it does not mean')[0]
    assert matplotlib.image.imread(tmp_path / 'docs/peers.png').std() > 0.05
    assert '(peers_gallery.jpg)\n\nFrom the digits classifier, seed 1.' in text
    assert (tmp_path / 'docs/peers_gallery.jpg').is_file()


def test_a_deeper_detector_takes_the_weights_of_its_classifier():
    job = patterns.training(Path('x'), patterns.FOUR_GLOBAL, patterns.DEEP, 0)
    detector, classifier = build(job.cfg), build(patterns.classifier(Path('x')).cfg)
    assert job.cfg.load_from == str(Path('x/deep_classifier/iter_2000.pth').resolve())
    assert [len(stage.blocks) for stage in detector.backbone.stages] == [1, 1, 6]
    own, source = (m.backbone.state_dict() for m in (detector, classifier))
    assert {name: value.shape for name, value in own.items()}.items() <= {k: v.shape for k, v in source.items()}.items()
    assert job.cfg.model.backbone.window_sizes == (16, 8, (4, None, None, None, 4, None))
    batch = trial.random_batch(job.cfg, (160, 160), 1)
    assert trial.take_step(detector, batch)['loss'] > 0
    assert (job.cfg.train_cfg.max_epochs, job.cfg.param_scheduler[1].T_max) == (3, 3)


def test_larger_images_are_the_same_problem_at_another_scale():
    groups = (patterns.PRETRAINED, patterns.LARGE)
    small, large = (patterns.training(Path('x'), patterns.GLOBAL, group, 0).cfg for group in groups)
    for loader in (large.train_dataloader, large.val_dataloader, large.test_dataloader):
        assert [part.scale for part in loader.dataset.pipeline if part.type == 'Resize'] == [(320, 320)]
    scales = [cfg.model.rpn_head.anchor_generator.scales for cfg in (small, large)]
    assert scales[1] == [2 * scale for scale in scales[0]]
    models = [build(cfg) for cfg in (small, large)]
    heads = [model.roi_head for model in models]
    assert [head.bbox_roi_extractor.finest_scale for head in heads] == [56, 112]
    assert [head.mask_roi_extractor.finest_scale for head in heads] == [56, 112]
    assert large.train_cfg.max_epochs == 2
    assert models[1].backbone.arch.token_grids(320) == (80, 40, 20)
