"""The metric of the segmentors; mmseg's own prints the IoU of each class and logs only the mean."""

from __future__ import annotations

from mmseg.evaluation import IoUMetric
from mmseg.registry import METRICS


@METRICS.register_module()
class ClassIoU(IoUMetric):
    """Adds ``IoU NAME`` of each class, in percent."""

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """From the intersection, union, predicted and true areas of each image, each (classes,)."""
        intersections, unions, *_ = (sum(areas) for areas in zip(*results, strict=True))
        ious = (100 * intersections / unions).tolist()
        names = self.dataset_meta['classes']
        return {
            **super().compute_metrics(results),
            **{f'IoU {name}': iou for name, iou in zip(names, ious, strict=True)},
        }
