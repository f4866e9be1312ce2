"""The runs of the question of windows: Mask R-CNN on digits, larger than in pretraining, with patterns of windows."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from evidence_cells import CLASSIFIER, DETECTOR, STARTS, backbone_cost, detector_config, fresh_config, last_checkpoint
from mmengine.config import Config
from trainings import TOP1, Job, shorten

from cvt_backbone import spread_global
from cvt_backbone.archs import get_arch
from cvt_backbone.data import DIGITS

DATA = dict(DIGITS)
SIDE = DATA['size']
ALIKE = (16, 8, 4)  # equal to global attention at the 64 pixels of pretraining
DEPTHS = (1, 1, 6)  # of the deeper cvt-nano
DEEP_LR = 1e-3  # of its classifier, half of the config's, at which its loss stays that of chance


class Pattern(NamedTuple):
    """A row: its windows, as ``window_sizes`` of CvT."""

    name: str
    windows: tuple | None

    @property
    def label(self) -> str:
        """In tables and plots."""
        return str(self.windows or 'global')


class Group(NamedTuple):
    """The rows of a table, which differ in their windows only.

    Attributes:
        name: In the names of runs.
        start: What they start from, in words.
        patterns: The rows, global first.
        exchanged: Whether their checkpoints are also evaluated in another pattern.
        depths: Blocks of each stage.
        side: Pixels of an image that the network sees.
        epochs: Of the schedule.
    """

    name: str
    start: str
    patterns: tuple[Pattern, ...]
    exchanged: bool = False
    depths: tuple[int, int, int] = (1, 1, 2)
    side: int = SIDE
    epochs: int = 5

    @property
    def arch(self) -> str | dict[str, Any]:
        """What the backbone is built of."""
        nano = get_arch('cvt-nano')
        if self.depths == nano.depths:
            return 'cvt-nano'
        return dict(embed_dims=nano.embed_dims, depths=self.depths, num_heads=nano.num_heads)


GLOBAL = Pattern('global', None)
LAST_GLOBAL = Pattern('w16-8-g', (16, 8, None))
WINDOWED = Pattern('w16-8-4', ALIKE)
PATTERNS = (
    GLOBAL,
    LAST_GLOBAL,
    Pattern('w16-8-4g', (16, 8, (4, None))),
    WINDOWED,
    Pattern('w8-4-2', (8, 4, 2)),
)
FOUR_GLOBAL = Pattern('w16-8-4x4g', (16, 8, spread_global(DEPTHS[-1], 4, 4)))
PRETRAINED = Group('pretrained', STARTS['pretrained'], PATTERNS, exchanged=True)
RANDOM = Group('random', STARTS['random'], PATTERNS, exchanged=True)
DEEP = Group(
    'deep', 'a digits classifier of six blocks in the third stage', (GLOBAL, LAST_GLOBAL, FOUR_GLOBAL, WINDOWED),
    depths=DEPTHS, epochs=3,
)  # fmt: skip
LARGE = Group('320px', f'{STARTS["pretrained"]}, at 320 pixels', (GLOBAL, WINDOWED), side=320, epochs=2)
GROUPS = (PRETRAINED, RANDOM, DEEP, LARGE)


def classifier(work_dir: Path) -> Job:
    """The digits classifier with as many blocks as the deep group."""
    cfg = fresh_config(CLASSIFIER, work_dir / 'digits/classes', 0)
    cfg.model.backbone.arch = DEEP.arch
    cfg.optim_wrapper.optimizer.lr = DEEP_LR
    settings = {'config': CLASSIFIER.stem, 'depths': list(DEPTHS), 'lr': DEEP_LR, 'data': DATA}
    return Job('deep_classifier', cfg, settings, TOP1)


def training(work_dir: Path, pattern: Pattern, group: Group, seed: int) -> Job:
    """A run of the demo's config with other windows, and with what its group has in common."""
    cfg = detector_config(work_dir / 'digits', seed)
    settings = {'config': DETECTOR.stem, 'windows': pattern.label, 'start': group.name, 'seed': seed, 'data': DATA}
    if group is RANDOM:
        cfg.model.backbone.init_cfg = None
    if group is DEEP:
        cfg.model.backbone.update(arch=group.arch, init_cfg=None)
        cfg.load_from = str(last_checkpoint(work_dir, classifier(work_dir)))
        settings['depths'] = list(group.depths)
    if group is LARGE:
        _enlarge(cfg, group.side)
        settings['side'] = group.side
    if group.epochs != cfg.train_cfg.max_epochs:
        shorten(cfg, group.epochs)
        settings['epochs'] = group.epochs
    cfg.model.backbone.window_sizes = pattern.windows
    return Job(f'{pattern.name}_{group.name}_seed{seed}', cfg, settings)


def _enlarge(cfg: Config, side: int) -> None:
    """Scale images up, and with them the anchors and the sizes by which boxes go to levels; AP stays comparable."""
    factor = side / SIDE
    for split in ('train', 'val', 'test'):
        for part in cfg[f'{split}_dataloader'].dataset.pipeline:
            if part.type == 'Resize':
                part.scale = (side, side)
    anchors = cfg.model.rpn_head.anchor_generator
    anchors.scales = [factor * scale for scale in anchors.scales]
    for name in ('bbox_roi_extractor', 'mask_roi_extractor'):
        cfg.model.roi_head[name].finest_scale = factor * 56  # SingleRoIExtractor's default


def exchanges(group: Group) -> list[tuple[Pattern, Pattern]]:
    """Which pattern is evaluated as which other one; none in a group without exchanges."""
    if not group.exchanged:
        return []
    windowed = [pattern for pattern in group.patterns if pattern is not GLOBAL]
    return [*((pattern, GLOBAL) for pattern in windowed), *((GLOBAL, p) for p in windowed if p is WINDOWED)]


def evaluation(work_dir: Path, trained: Pattern, pattern: Pattern, group: Group, seed: int) -> Job:
    """The last checkpoint of a training with other windows."""
    job = training(work_dir, trained, group, seed)
    job.cfg.model.backbone.window_sizes = pattern.windows
    return job._replace(
        name=f'{job.name}_as-{pattern.name}',
        settings={**job.settings, 'evaluated as': pattern.label},
        checkpoint=last_checkpoint(work_dir, job),
    )


@cache
def macs(pattern: Pattern, group: Group) -> int:
    """Multiply-accumulates of the backbone for one image."""
    backbone = dict(type='CvT', arch=group.arch, window_sizes=pattern.windows)
    return backbone_cost(backbone, (group.side, group.side))[1]
