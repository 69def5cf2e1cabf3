"""What is followed beside a run's loss: samples never learned from, and controls that tell reading from style."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from sharedllm_cli.lab.training.sample import Sample


@dataclass
class Validation:
    """Fixed samples whose loss is followed; they are never trained on.

    Those that read a tree are also tried with another one's tree and without any: if the wrong tree does as well as
    the right one, the tree is not read.
    """

    samples: Sequence[Sample] = field(default_factory=list)

    def controls(self) -> dict[str, list[Sample]]:
        """What is measured, by the name of its metric."""
        reading = [sample for sample in self.samples if sample.tree is not None]
        exchanged = exchanged_trees(reading)
        found = {"validation_loss": list(self.samples)}
        if exchanged:
            found["tree_right"] = reading
            found["tree_wrong"] = exchanged
            found["tree_none"] = [replace(sample, tree=None) for sample in reading]
        return found


def exchanged_trees(samples: Sequence[Sample]) -> list[Sample]:
    """Each sample with the tree of the next one that shares no document with it; empty where there is none for one."""
    exchanged = []
    for place, sample in enumerate(samples):
        assert sample.tree is not None
        own = {id(document) for document in sample.tree.documents}
        for other in (*samples[place + 1 :], *samples[:place]):
            if other.tree is not None and own.isdisjoint(id(document) for document in other.tree.documents):
                exchanged.append(replace(sample, tree=other.tree))
                break
        else:
            return []
    return exchanged
