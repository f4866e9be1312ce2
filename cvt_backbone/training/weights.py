"""Hooks that bring a checkpoint's weights under the names of the model, or refuse it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from ..checkpoints import CheckpointError, compare_shapes, container_of, read, read_file, shapes_of
from ..errors import InputError
from ..kinds import kind_of
from ..models import fit, is_whole_model, name_for_model, state_of


class WholeWeights(Hook):
    """Loads a checkpoint into all of the model, published weights of a CvT classifier included, or refuses it.

    mmengine would load as far as names and shapes agree.

    Args:
        path: The checkpoint.
    """

    priority = 'HIGHEST'  # other hooks look for state_dict, which published files lack

    def __init__(self, path: str) -> None:
        self.path = path

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Put the model's weights into the checkpoint.

        Raises:
            InputError: They are not there.
        """
        model, contents = _unwrap(runner.model), (checkpoint, 'torch', None)
        if compare_shapes(shapes_of(model.state_dict()), shapes_of(state_of(checkpoint))):
            contents = read_file(Path(self.path))  # with its container, on which the format depends
        checkpoint['state_dict'] = fit(model, contents, self.path)


class TranslatedWeights(Hook):
    """Gives published weights of a CvT, in any format, the names they have in a model; mmengine loads what agrees.

    Args:
        path: The checkpoint.
    """

    priority = 'HIGHEST'

    def __init__(self, path: str) -> None:
        self.path = path

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Put the translated weights into the checkpoint.

        Raises:
            InputError: The file is neither a toolbox's nor the whole CvT of this config.
        """
        model, state = _unwrap(runner.model), state_of(checkpoint)
        own = {name for name, _ in model.named_parameters()}
        is_own = Path(self.path).is_file() and container_of(Path(self.path)) != 'paddle'
        is_own = is_own and (is_whole_model(state) or own & state.keys())
        if kind_of(runner.cfg.model.get('backbone')) != 'CvT' or is_own:
            if state:
                checkpoint['state_dict'] = state
            return
        try:
            found = read(self.path, model.backbone.arch)  # the config may leave it to CvT's default
        except CheckpointError as error:
            raise InputError(f'load_from: {error}') from error
        checkpoint['state_dict'] = name_for_model(found)


def _unwrap(model: Any) -> Any:
    return model.module if is_model_wrapper(model) else model
