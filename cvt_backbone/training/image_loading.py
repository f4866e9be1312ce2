"""Images that cannot be decoded: named, and skipped if wanted."""

from __future__ import annotations

import logging
from typing import Any

from mmcv.transforms import TRANSFORMS, LoadImageFromFile
from mmengine.logging import print_log


@TRANSFORMS.register_module()
class LoadImageOrName(LoadImageFromFile):
    """mmcv's ``LoadImageFromFile``, but it names a file that is broken or left out.

    With ``ignore_empty=True`` a warning names a file that cannot be read, and the data set draws another one in its
    place; otherwise an error names it. Takes all arguments of ``LoadImageFromFile``. Only
    ``imdecode_backend='pillow'`` notices files that end too early.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any] | None:
        """Load ``results['img_path']``, unless there is an image without a path, as mmpretrain's inferencer gives it.

        Returns:
            ``results`` with the image, or None if the file was left out.

        Raises:
            OSError: The file cannot be read, and ``ignore_empty`` is not set.
        """
        if 'img' in results and 'img_path' not in results:
            return results
        ignore, self.ignore_empty = self.ignore_empty, False
        try:
            return super().transform(results)
        except Exception as error:  # each decoder raises its own
            message = f'cannot read the image {results["img_path"]} ({str(error) or type(error).__name__})'
            if not ignore:
                raise OSError(
                    f'{message}; repair or remove it, or set ignore_empty=True in LoadImageOrName to go on without it'
                ) from error
            print_log(f'{message}; another one takes its place', logger='current', level=logging.WARNING)
            return None
        finally:
            self.ignore_empty = ignore
