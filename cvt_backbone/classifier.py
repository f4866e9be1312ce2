"""CvT with its classifier as plain PyTorch, and the published weights by name."""

from __future__ import annotations

from difflib import get_close_matches

from torch import Tensor, nn

from .backbone import CvT
from .checkpoints import compare_shapes, log_notes, read, shapes_of
from .configs import shipped
from .configs.metafiles import Entry, read_metafile
from .errors import CheckpointError, InputError

NUM_CLASSES = 1000  # of ImageNet-1k, for which all published heads are


class Classifier(CvT):
    """CvT and its linear head, without a toolbox; the state dict has the official names, those of the head included.

    Args:
        arch: A name of the zoo.
    """

    def __init__(self, arch: str) -> None:
        super().__init__(arch, out_type='cls_token')
        self.head = nn.Linear(self.arch.embed_dims[-1], NUM_CLASSES)
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits.

        Args:
            x: (B, 3, H, W): RGB in [0, 1], less the mean (0.485, 0.456, 0.406), over (0.229, 0.224, 0.225).

        Returns:
            (B, 1000).
        """
        return self.head(super().forward(x)[-1])


def list_models() -> list[str]:
    """Names of the published classifiers, which :func:`get_model` takes."""
    return sorted(_entries())


def get_model(name: str, pretrained: bool | str = False) -> Classifier:
    """Build a published classifier.

    Args:
        name: One of :func:`list_models`: ``cvt-13_in1k``.
        pretrained: Whether to load the published weights, which are downloaded into torch's cache; or where others of
            this architecture with 1000 classes are, see :func:`~cvt_backbone.checkpoints.locate`.

    Returns:
        The model, in eval mode if it has weights.

    Raises:
        InputError: There is no such model, or the file does not have its weights, all of them and nothing else.

    Examples:
        >>> import cvt_backbone
        >>> model = cvt_backbone.get_model('cvt-13_in1k')
        >>> sum(p.numel() for p in model.parameters())
        19997480
    """
    entries = _entries()
    if name not in entries:
        near = get_close_matches(str(name), entries, n=1, cutoff=0.0)[0]
        raise InputError(f'name: there is no model {name!r}; did you mean {near}? list_models() has all names')
    model = Classifier(entries[name].metadata['Arch'])
    if pretrained is True:
        pretrained = entries[name].weights[0]
    if pretrained:
        _load(model, str(pretrained))
        model.eval()
    return model


def _entries() -> dict[str, Entry]:
    found = read_metafile(shipped('configs') / 'cls/metafile.yml')
    return {entry.name.replace('_3rdparty', ''): entry for entry in found if entry.weights}


def _load(model: Classifier, path: str) -> None:
    checkpoint = read(path, model.arch)
    if difference := compare_shapes(shapes_of(model.state_dict()), shapes_of(checkpoint.state)):
        raise CheckpointError(f'{path} does not have the weights of this classifier: {difference.summary()}')
    model.load_state_dict(checkpoint.state, strict=False)  # BatchNorm's counters may be missing
    log_notes(model, checkpoint, path)
