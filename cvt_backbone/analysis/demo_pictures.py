"""The demo's pictures: what a run learned, and how its losses and metrics went."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import InstanceData

from .plots import make_figure, save

METRICS = {
    'box AP': 'coco/bbox_mAP',
    'box AP50': 'coco/bbox_mAP_50',
    'mask AP': 'coco/segm_mAP',
    'mask AP50': 'coco/segm_mAP_50',
}
PICTURES = 6


class History(Hook):
    """Keeps the losses and metrics of a run, and evaluates once before the first step.

    Attributes:
        losses: (epoch, loss) of every iteration, the epoch as a fraction.
        metrics: (epoch, metrics) of every evaluation, beginning with epoch 0.
    """

    priority = 'LOWEST'  # the other hooks must be ready when before_train evaluates

    def __init__(self) -> None:
        self.losses: list[tuple[float, float]] = []
        self.metrics: list[tuple[int, dict[str, float]]] = []

    def before_train(self, runner: Runner) -> None:
        """Evaluate the untrained model."""
        runner.val_loop.run()

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict, outputs: dict) -> None:
        """Note the loss."""
        self.losses.append(((runner.iter + 1) / len(runner.train_dataloader), outputs['loss'].item()))

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float]) -> None:
        """Note the metrics."""
        self.metrics.append((runner.epoch, metrics))


def draw_instances(ax: Axes, image: np.ndarray, instances: InstanceData, names: tuple[str, ...]) -> None:
    """Draw masks, boxes and labels over an image.

    Args:
        ax: Where to draw.
        image: (H, W, 3) RGB, uint8.
        instances: ``bboxes`` (N, 4), ``labels`` (N,), ``masks`` (N, H, W) and, for predictions, ``scores`` (N,).
        names: Name of each label.
    """
    ax.imshow(image, interpolation='nearest')
    ax.set_axis_off()
    colours = colormaps['tab10'].colors
    for i in range(len(instances)):
        label = int(instances.labels[i])
        colour = colours[label % len(colours)]
        overlay = np.zeros((*image.shape[:2], 4))
        overlay[instances.masks[i].astype(bool)] = (*colour, 0.6)
        ax.imshow(overlay, interpolation='nearest')
        x1, y1, x2, y2 = instances.bboxes[i].tolist()
        ax.add_patch(Rectangle((x1 - 0.5, y1 - 0.5), x2 - x1, y2 - y1, fill=False, color=colour, linewidth=1.5))
        text = names[label] + (f' {instances.scores[i]:.2f}' if 'scores' in instances else '')
        ax.text(x1, max(y1 - 2, 6), text, color='white', fontsize=8, bbox=dict(facecolor=colour, pad=1, linewidth=0))


def image_and_truth(data: dict) -> tuple[np.ndarray, InstanceData]:
    """What :func:`draw_instances` draws of a data set's sample: the image (H, W, 3) RGB and its annotations."""
    truth = data['data_samples'].gt_instances
    shown = InstanceData(bboxes=truth.bboxes.tensor.numpy(), labels=truth.labels.numpy(), masks=truth.masks.masks)
    return data['inputs'].permute(1, 2, 0).numpy()[..., ::-1], shown


def draw_predictions(runner: Runner, path: Path) -> None:
    """Draw held-out images in pairs: ground truth, and all that the model predicts."""
    dataset = runner.val_dataloader.dataset
    runner.model.eval()
    figure = make_figure(2.4 * PICTURES, 5.2)
    axes = figure.subplots(2, PICTURES)
    for column, index in enumerate(np.linspace(0, len(dataset) - 1, PICTURES).astype(int)):
        data = dataset[index]
        image, truth = image_and_truth(data)
        with torch.no_grad():
            sample = runner.model.test_step({'inputs': [data['inputs']], 'data_samples': [data['data_samples']]})[0]
        predicted = sample.pred_instances.cpu().numpy()
        draw_instances(axes[0, column], image, truth, dataset.metainfo['classes'])
        draw_instances(axes[1, column], image, predicted, dataset.metainfo['classes'])
    axes[0, 0].set_title('ground truth', loc='left', fontsize=11)
    axes[1, 0].set_title('predicted', loc='left', fontsize=11)
    save(figure, path, dpi=100)


def draw_curves(history: History, path: Path) -> None:
    """Draw the loss of every iteration with its running mean, and the APs of every evaluation."""
    figure = make_figure(10, 3.6)
    left, right = figure.subplots(1, 2)
    epochs, losses = np.array(history.losses).T
    window = min(50, len(losses))
    left.plot(epochs, losses, color='lightgrey', linewidth=0.8, label='iteration')
    mean = np.convolve(losses, np.ones(window) / window, mode='valid')
    left.plot(epochs[window - 1 :], mean, color='tab:red', label=f'mean of {window}')
    left.set(xlabel='epoch', ylabel='loss', ylim=(0, None))
    left.legend()
    for name, key in METRICS.items():
        right.plot(*zip(*((epoch, m.get(key, 0.0)) for epoch, m in history.metrics), strict=True), 'o-', label=name)
    right.set(xlabel='epoch', ylabel='AP on held-out images', ylim=(0, 1))
    right.grid(alpha=0.3)
    right.legend()
    save(figure, path, dpi=100)
