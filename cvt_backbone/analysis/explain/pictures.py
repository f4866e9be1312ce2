"""One picture per method, which says on itself how it is read."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patheffects import withStroke

from ..plots import make_figure
from .attention import BlockAttention
from .feature_maps import pca_colours
from .token_grid import TokenGrid

PANEL = 2.4  # inches
PANELS_IN_A_ROW = 7  # beside the image
HEAT = dict(cmap='inferno', vmin=0, vmax=1, alpha=0.65)


def draw_feature_maps(picture: np.ndarray, maps: Sequence[np.ndarray], grids: Sequence[TokenGrid]) -> Figure:
    """Draw each stage's map, as colours of its main directions and as its mean.

    Args:
        picture: (H, W, 3) uint8, what the model saw.
        maps: (H_i, W_i, C_i) per stage.
        grids: Where they lie in the picture.
    """
    figure, axes = _make_panels(
        picture,
        2,
        1 + len(maps),
        'Feature maps: what each stage tells apart',
        'Upper row: the three main directions (PCA) of a stage as red, green and blue; places of one colour look alike '
        'to the model, and colours of different stages have nothing in common. Lower row: mean over the channels.',
        bars=0.55 * len(maps),
    )
    size = picture.shape[:2]
    _show(axes[0, 0], picture, _image_title(picture))
    axes[1, 0].set_axis_off()
    for i, (features, grid) in enumerate(zip(maps, grids, strict=True)):
        title = f'stage {i + 1} of {len(maps)}: {features.shape[1]}x{features.shape[0]} tokens'
        _show(
            axes[0, i + 1],
            grid.spread(pca_colours(features), size),
            f'{title}\n{features.shape[2]} channels as colours',
        )
        mean = _show(axes[1, i + 1], grid.spread(features.mean(2), size), 'mean over the channels', cmap='viridis')
        figure.colorbar(mean, ax=axes[1, i + 1], fraction=0.046, pad=0.02).ax.tick_params(labelsize=7)
    return figure


def draw_cams(
    picture: np.ndarray,
    cams: Sequence[tuple[np.ndarray, TokenGrid]],
    title: str,
    how: str,
    region: np.ndarray | None = None,
) -> Figure:
    """Draw the class activation maps of all stages.

    Args:
        picture: (H, W, 3) uint8, what the model saw.
        cams: Per stage the map (H_i, W_i) in [0, 1] and where it lies in the picture.
        title: What is explained.
        how: How the picture is read.
        region: (H, W) bool: outlined; None for no outline.
    """
    figure, axes = _make_panels(picture, 1, 1 + len(cams), title, how)
    _show(axes[0, 0], picture, _image_title(picture))
    for i, (cam, grid) in enumerate(cams):
        stage = f'stage {i + 1} of {len(cams)}: a token every {grid.step:g} pixels'
        spread = grid.spread(cam, picture.shape[:2], smooth=True)
        heat = _show_heat(axes[0, i + 1], picture, spread, stage + ('' if cam.any() else '\n(nothing speaks for it)'))
    if region is not None and not region.all():
        for ax in axes[0]:
            ax.contour(region, levels=[0.5], colors='white', linewidths=2.5)
            ax.contour(region, levels=[0.5], colors='black', linewidths=1, linestyles='dashed')
    _add_bar(figure, axes, heat, 'weight', 'least', 'most')
    return figure


def draw_attention(
    picture: np.ndarray, blocks: Sequence[BlockAttention], depths: Sequence[int], place: tuple[float, float] | None
) -> Figure:
    """Draw where a place, or the cls token, looks: the mean of the heads, then each head.

    Args:
        picture: (H, W, 3) uint8, what the model saw.
        blocks: Attention of one image; of one place, if one is given.
        depths: Blocks of each stage of the model.
        place: The pixel (x, y) that looks; None for the cls token.
    """
    lines = [(block, line) for block in blocks for line in _lines(_heads(block, place))]
    who = 'the cls token' if place is None else 'the ringed place'
    with_cls = any(block.to_cls is not None for block in blocks)
    figure, axes = _make_panels(
        picture,
        len(lines),
        1 + max(len(line) for _, line in lines),
        f'Attention: where {who} looks',
        f'One row per stage (its last block), one panel per head. A square is a token that {who} can look at: the '
        'brighter, the more of the attention it gets. Percentages: what the brightest square gets.'
        + (' Dark all around: outside its window.' if place and any(block.window_size for block in blocks) else '')
        + (' The cls token, which has no place, gets what is missing to 100 %.' if with_cls else '')
        + f' Recomputed beside the model: its results deviate by {max(block.deviation for block in blocks):.0e}.',
    )
    for row, (block, line) in zip(axes, lines, strict=True):
        for ax in row[1 + len(line) :]:
            ax.set_axis_off()
        _show(row[0], picture, _block_title(block, depths, place is None))
        for ax, (name, weights) in zip(row[1:], line, strict=False):
            spread = block.key_grid.spread(weights, picture.shape[:2])
            heat = _show_heat(ax, picture, spread / (weights.max() or 1), f'{name}: {weights.max():.1%}')
        for ax in row[: 1 + len(line)] if place else ():
            _mark(ax, place)
    _add_bar(figure, axes, heat, 'share of the attention', 'none', 'most')
    return figure


def _heads(block: BlockAttention, place: tuple[float, float] | None) -> np.ndarray:
    """(heads, Hk, Wk)."""
    weights = block.cls_weights[0] if place is None else block.weights[0, :, 0]
    return weights.float().cpu().numpy()


def _lines(heads: np.ndarray) -> list[list[tuple[str, np.ndarray]]]:
    """Panels with their names: the mean, unless there is one head only, and the heads."""
    panels = [(f'mean of {len(heads)} heads', heads.mean(0))] if len(heads) > 1 else []
    panels += [(f'head {i}', head) for i, head in enumerate(heads, 1)]
    return [panels[i : i + PANELS_IN_A_ROW] for i in range(0, len(panels), PANELS_IN_A_ROW)]


def _make_panels(
    picture: np.ndarray, rows: int, columns: int, title: str, how: str, bars: float = 0.9
) -> tuple[Figure, np.ndarray]:
    """A figure with its title, its explanation and (rows, columns) axes of the picture's shape.

    ``bars`` is the width of its colour bars in inches.
    """
    height, width = picture.shape[:2]
    panel_width = PANEL * max(1, width / height) ** 0.5  # wide pictures get wider panels, not flat ones
    panel_height = panel_width * height / width
    lines = textwrap.wrap(how, int((columns * panel_width + bars) * 13))
    figure = make_figure(columns * (panel_width + 0.08) + bars, rows * (panel_height + 0.45) + 0.45 + 0.16 * len(lines))
    figure.suptitle(title, x=0.01, ha='left', fontsize=12, weight='bold')
    figure.supxlabel('\n'.join(lines), x=0.01, ha='left', fontsize=9)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _show(ax: Axes, picture: np.ndarray, title: str, **options: object) -> AxesImage:
    ax.set_axis_off()
    ax.set_title(title, fontsize=8.5)
    return ax.imshow(picture, interpolation='nearest', **options)


def _show_heat(ax: Axes, picture: np.ndarray, heat: np.ndarray, title: str) -> AxesImage:
    """Lay values in [0, 1], (H, W), over the picture in grey."""
    _show(ax, picture.mean(2), title, cmap='gray', vmin=0, vmax=255)
    return ax.imshow(heat, interpolation='nearest', **HEAT)


def _add_bar(figure: Figure, axes: np.ndarray, heat: AxesImage, label: str, low: str, high: str) -> None:
    bar = figure.colorbar(heat, ax=axes, fraction=0.015, aspect=45, pad=0.01, ticks=[0, 1])
    bar.ax.set_yticklabels([low, high], fontsize=8)
    bar.set_label(label, fontsize=8)


def _mark(ax: Axes, place: tuple[float, float]) -> None:
    outline = [withStroke(linewidth=3.5, foreground='black')]
    ax.plot(*place, 'o', markersize=9, markerfacecolor='none', markeredgecolor='cyan', path_effects=outline)


def _image_title(picture: np.ndarray) -> str:
    return f'the image as the model sees it,\n{picture.shape[1]}x{picture.shape[0]} pixels'


def _block_title(block: BlockAttention, depths: Sequence[int], of_cls_token: bool) -> str:
    side = None if of_cls_token else block.window_size  # the cls token sees all windows
    reach = 'global' if side is None else f'windows of {side}x{side}'
    title = f'stage {block.stage + 1} of {len(depths)}, block {block.block + 1} of {depths[block.stage]}'
    return f'{title}\n{block.query_size[1]}x{block.query_size[0]} tokens, {reach}'
