"""A config for one's own data: looked at, checked, written on top of a shipped one."""

from __future__ import annotations

import json
import tempfile
from contextlib import ExitStack
from pathlib import Path

from mmengine.config import Config

from ...configs import is_new_style, scope_of
from ...configs.text import config_text
from ...errors import InputError
from ...files import replacing
from ..check import check_annotations
from ..preview import save_pictures
from .classifier import new_classifier
from .detector import new_detector
from .plan import Plan, Request
from .robust import with_robust
from .segmentor import new_segmentor

__all__ = ['Plan', 'Request', 'make_plan', 'make_text', 'write']

MAKERS = {'mmdet': new_detector, 'mmseg': new_segmentor, 'mmpretrain': new_classifier}


def make_plan(cfg: Config, request: Request) -> Plan:
    """Look at the data, and settle what a config for them says.

    Args:
        cfg: The base config, whose toolbox is imported.
        request: Its name, and the data.

    Raises:
        InputError: The data or the config cannot be used; the message says why.
    """
    if is_new_style(cfg):
        raise InputError(
            f'config: {request.config} is of the new style (read_base), on which no _base_ can stand; take one by '
            f'names, such as the copy that `cvt-backbone train` leaves in its work dir'
        )
    for split in ('train', 'val'):
        if not cfg.get(f'{split}_dataloader'):
            raise InputError(
                f'config: {request.config} has no {split}_dataloader; take a config that trains and validates'
            )
    plan = MAKERS[scope_of(cfg)](cfg, request)
    plan.settings = with_robust(cfg, plan.settings)
    return plan


def make_text(plan: Plan, head: str, folder: Path = Path()) -> str:
    """The text of the config, which is tried first: read, and compared with the data as before a training.

    Args:
        plan: What it says.
        head: Lines of comment.
        folder: Where it will lie.

    Raises:
        InputError: It cannot inherit from its base, or the data do not fit it.
    """
    text = config_text(head, plan.settings)
    with tempfile.NamedTemporaryFile('w', dir=folder, prefix='.new.', suffix='.part.py') as part:
        part.write(text)
        part.flush()
        try:
            cfg = Config.fromfile(part.name)
        except Exception as error:  # a config is Python: whatever it raises
            raise InputError(f'config: nothing can be written on top of it: {type(error).__name__}: {error}') from error
    check_annotations(cfg, 'train', 'val', known=plan.known)
    return text


def write(plan: Plan, text: str, out: Path, preview: Path | None) -> None:
    """Write the converted annotations, the preview and the config: all of them or none.

    Raises:
        InputError: A file cannot be written.
    """
    try:
        with ExitStack() as stack:
            stack.enter_context(replacing(out)).write_text(text)
            if preview:
                save_pictures(stack.enter_context(replacing(preview, folder=True)), plan.draw())
            for path, content in plan.converted.items():
                stack.enter_context(replacing(path)).write_text(json.dumps(content))
    except OSError as error:
        raise InputError(f'--out: cannot write {error.filename or out} ({error.strerror or error})') from error
