"""Swap CvT into one config of every family that mmdet and mmseg ship, try each, and write the table of results."""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import re
import sysconfig
import warnings
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from datetime import date
from importlib.metadata import distributions
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from rich.progress import track

from cvt_backbone import swap_backbone
from cvt_backbone.analysis import trial
from cvt_backbone.analysis.tables import markdown
from cvt_backbone.cli.common import run
from cvt_backbone.configs import dicts, get_config, import_toolbox, toolbox_folder
from cvt_backbone.errors import InputError
from cvt_backbone.files import writing
from cvt_backbone.models import build_random
from cvt_backbone.swap import SwapError
from cvt_backbone.swap.probe import own_image_size

ROOT = Path(__file__).resolve().parents[2]
ARCH = 'cvt-nano'
SIZES = ((128, 128), (320, 320))  # the second where the first is too small for a model; then the model's own
PROPOSALS = 100  # per image
TIMEOUT = 300  # seconds per config
FORK = get_context('fork')
# Data sets, weights and augmentations for models of other folders; classifiers of persons; trackers and video models.
LEFT_OUT = (
    *('_base_', 'albu_example', 'cityscapes', 'common', 'deepfashion', 'dsdl', 'instaboost', 'legacy_1.x', 'lvis'),
    *('misc', 'objects365', 'openimages', 'pascal_voc', 'resnet_strikes_back', 'scratch', 'selfsup_pretrain'),
    *('simple_copy_paste', 'strong_baselines', 'v3det', 'wider_face', 'reid'),
    *('bytetrack', 'deepsort', 'mask2former_vis', 'masktrack_rcnn', 'ocsort', 'qdtrack', 'sort', 'strongsort'),
)
OF_OTHER_DATA = ('_tta', 'levir')  # test-time settings without a model; pairs of images
WORKS, REFUSED, FAILED, ORIGINAL = 'works', 'refused', 'fails', 'original does not run here'
HEAD = """# The sweep of swap_backbone

Which families of mmdet and mmseg does `swap_backbone` reach? One config of each folder of configs was swapped, built,
trained for one step and run on an image.

{totals}
Measured {date} by `python tools/dev/sweep_swap.py`: {arch}, random weights and images of {side} pixels (or
the one size a model takes), at most {proposals} proposals, {machine}; {versions}.

From each folder the sweep takes the shortest name, of ResNet-50 if there is one, {total} in all. It leaves out folders
without a detector or segmentor of their own: {left_out}.

A config works if the swapped model builds, a training loss is finite and reaches every trainable parameter that it
reaches in the original, and a prediction comes back. It is refused if `swap_backbone` raises `SwapError`. If the
unchanged config cannot be built or run on this machine either, it counts neither way.

{families}"""


def main() -> None:
    """Try every config in a process of its own and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '-o', '--out', default=str(ROOT / 'docs/results/swap_sweep.md'), help='the table (default: %(default)s)'
    )
    parser.add_argument('--cache', default='work_dirs/swap_sweep.jsonl', help='results so far (default: %(default)s)')
    parser.add_argument('--only', nargs='+', help='names to try (again)')
    args = parser.parse_args()
    names = family_configs()
    unknown = sorted(set(args.only or ()) - set(names))
    if unknown:
        raise InputError(f'--only: {unknown[0]} is not among the {len(names)} configs of the sweep')
    for scope in ('mmdet', 'mmseg'):
        import_toolbox(scope)
    torch.set_num_threads(1)  # a forked process cannot use its parent's threads
    cache = Path(args.cache)
    cache.parent.mkdir(parents=True, exist_ok=True)
    done = read_cache(cache)
    for name in track([n for n in names if n not in done or n in (args.only or ())], description='configs'):
        done[name] = in_own_process(name)
        with cache.open('a') as file:
            file.write(json.dumps(done[name]) + '\n')
    write_table(Path(args.out), [done[name] for name in names])


def family_configs() -> list[str]:
    """One config of every folder: ``TOOLBOX::FOLDER/FILE``."""
    names = []
    for scope in ('mmdet', 'mmseg'):
        root = toolbox_folder(scope)
        for folder in sorted(p for p in root.iterdir() if p.is_dir() and p.name not in LEFT_OUT):
            files = [p.name for p in folder.glob('*.py') if not any(word in p.stem for word in OF_OTHER_DATA)]
            if files:
                chosen = min(files, key=lambda name: ('r50' not in name, len(name), name))
                names.append(f'{scope}::{folder.name}/{chosen}')
    return names


def read_cache(path: Path) -> dict[str, dict]:
    """Results of earlier calls, the last one of each config."""
    lines = path.read_text().splitlines() if path.is_file() else []
    return {result['name']: result for result in map(json.loads, lines)}


def in_own_process(name: str) -> dict[str, Any]:
    """Try one config where it can neither hang nor crash the sweep, and where the toolboxes are imported already."""
    receiver, sender = FORK.Pipe(duplex=False)
    process = FORK.Process(target=_send_result, args=(sender, name))
    process.start()
    sender.close()
    try:
        if receiver.poll(TIMEOUT):
            return receiver.recv()
        return {'name': name, 'verdict': FAILED, 'reason': f'no answer within {TIMEOUT} s'}
    except EOFError:
        process.join()
        return {'name': name, 'verdict': FAILED, 'reason': f'the process died with exit code {process.exitcode}'}
    finally:
        process.kill()
        process.join()


def _send_result(sender: Connection, name: str) -> None:
    with open(os.devnull, 'w') as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        result = try_config(name)
    sender.send(result)


def try_config(name: str) -> dict[str, Any]:
    """Swap, build, train one step, predict; where something stops, see whether the original gets further."""
    torch.manual_seed(0)
    warnings.simplefilter('ignore')
    result: dict[str, Any] = {'name': name}
    try:
        cfg = get_config(name)
    except InputError as error:
        return {**result, 'verdict': ORIGINAL, 'reason': _line(error)}
    sizes = (*SIZES, *((side, side) for side in own_image_size(cfg.model)))
    try:
        new = swap_backbone(cfg, ARCH)
    except SwapError as error:
        verdict, reason = REFUSED, _line(error)
    else:
        for size in sizes:
            reached, error = attempt(new, size, cfg)
            if error is None:
                break
        result |= reached
        if error is None:
            return {**result, 'verdict': WORKS, 'reason': ''}
        verdict, reason = FAILED, _line(error)
    for size in sizes:
        reached, error = attempt(cfg, size, cfg)
        if error is None:
            return {**result, 'verdict': verdict, 'reason': reason}
    return {**result, 'verdict': ORIGINAL, 'reason': _line(error), 'swap': f'{verdict}: {reason}'}


def attempt(cfg: Config, size: tuple[int, int], original: Config) -> tuple[dict[str, bool], Exception | None]:
    """How far a model gets: built, loss, predict; and what stopped it."""
    reached: dict[str, bool] = {}
    try:
        model = build_random(with_few_proposals(cfg), size)
        reached['built'] = True
        batch = trial.random_batch(cfg, size)
        try:
            trial.take_step(model, batch)
        except trial.NoGradientError as error:
            if set(error.names) - set(_without_gradient(original, size)):
                raise
        reached['loss'] = True
        trial.predict(model, {key: value[:1] for key, value in batch.items()})  # one image, as in tests
        reached['predict'] = True
    except Exception as error:  # whatever a model raises is what is measured here
        return reached, error
    return reached, None


def with_few_proposals(cfg: Config) -> Config:
    """A copy in which no proposal network passes on more than :data:`PROPOSALS` boxes, to save time."""
    cfg = copy.deepcopy(cfg)
    for settings in (cfg.model.get('train_cfg') or {}, cfg.model.get('test_cfg') or {}):
        for name in ('rpn_proposal', 'rpn'):
            for rpn in dicts(settings.get(name)):
                if 'max_per_img' in rpn:
                    rpn['max_per_img'] = PROPOSALS
    return cfg


def _without_gradient(cfg: Config, size: tuple[int, int]) -> list[str]:
    model = build_random(with_few_proposals(cfg), size)
    try:
        trial.take_step(model, trial.random_batch(cfg, size))
    except trial.NoGradientError as error:
        return error.names
    return []


def _line(error: Exception) -> str:
    """The error in one line, without addresses and without the folders of this machine."""
    text = (str(error).strip().splitlines() or [''])[0]
    text = ' '.join(re.sub(r'https?://\S+', 'an address', text).replace(sysconfig.get_path('purelib'), '').split())
    return (text if isinstance(error, (SwapError, InputError)) else f'{type(error).__name__}: {text}')[:300]


def write_table(out: Path, results: list[dict]) -> None:
    """Write totals and one row per config, whole or not at all."""
    counts = Counter(result['verdict'] for result in results)
    counted = len(results) - counts[ORIGINAL]
    rows = {
        'works': counts[WORKS],
        'refused, with the reason': counts[REFUSED],
        'works or is refused': counts[WORKS] + counts[REFUSED],
        'fails': counts[FAILED],
    }
    totals = [[label, count, f'{100 * count / counted:.1f} %'] for label, count in rows.items()]
    families = []
    for result in results:
        reason = result['reason']
        ticks = ['yes' if result.get(key) else '' for key in ('built', 'loss', 'predict')]
        families.append([result['name'], *ticks, result['verdict'] + (f': {reason}' if reason else '')])
    text = HEAD.format(
        date=date.today(), arch=ARCH, side=' or '.join(str(size[0]) for size in SIZES), proposals=PROPOSALS,
        machine=f'{platform.machine()} CPU', versions=_versions(), total=len(results), left_out=', '.join(LEFT_OUT),
        totals=markdown(
            ['', 'configs', f'of {counted} that run unchanged'], [*totals, [ORIGINAL, counts[ORIGINAL], '']]
        ),
        families=markdown(['config', 'built', 'loss', 'predict', 'result'], families),
    )  # fmt: skip
    with writing('--out', out) as part:
        part.write_text(text)


def _versions() -> str:
    wanted = ('torch', 'onedl-mmcv', 'mmcv', 'onedl-mmdetection', 'mmdet', 'onedl-mmsegmentation', 'mmsegmentation')
    found = {d.metadata['Name']: d.version for d in distributions()}
    return ', '.join(f'{name} {found[name]}' for name in wanted if name in found)


if __name__ == '__main__':
    run(main)
