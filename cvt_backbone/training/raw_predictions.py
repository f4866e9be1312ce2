"""Raw predictions of a test in a file that appears whole."""

from __future__ import annotations

from pathlib import Path

from mmengine.evaluator import DumpResults
from mmengine.fileio import dump

from ..files import writing


class WholeResults(DumpResults):
    """mmengine's metric that writes the predictions to a pickle file, but replaces an old file only when it is done."""

    def compute_metrics(self, results: list) -> dict:
        """Write the file.

        Raises:
            InputError: It cannot be written.
        """
        path = Path(self.out_file_path)
        with writing('--out', path, suffix=path.suffix) as part:
            dump(results, part)
        return {}
