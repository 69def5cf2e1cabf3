"""Trees without an index, to hold the stored ones against."""

from __future__ import annotations

from sharedllm_cli.index.nodes import LiveNodes
from sharedllm_cli.lab.training.corpus import LocatedDocument
from sharedllm_cli.model.lower import LowerModel


class LiveTrees:
    """Every node through the lower model each time that it is asked for."""

    def __init__(self, lower: LowerModel) -> None:
        self._lower = lower

    def of(self, document: LocatedDocument) -> LiveNodes:
        """The nodes of a document."""
        return LiveNodes(self._lower, document.leaves)
