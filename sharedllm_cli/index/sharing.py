"""Several equal lower models, one a device, share the batches of an index: no batch knows of another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from sharedllm_cli.context.tree import Node
from sharedllm_cli.index.encoding import EncodedBatch, NodeEncoder


def encode_shared(encoders: Sequence[NodeEncoder], nodes: Sequence[Node]) -> Iterator[EncodedBatch]:
    """What the first encoder alone would give, batch for batch in its order; each encoder computes a part of them.

    The batches are those of one encoder, so that equal devices give equal numbers however many there are.
    """
    if len(encoders) == 1:
        yield from encoders[0].encode(nodes)
        return
    batches = encoders[0].batches(nodes)

    def run(encoder: NodeEncoder, places: Sequence[int]) -> list[EncodedBatch]:
        # More than one where a device's memory did not suffice for all of them at once.
        found = encoder.encode([nodes[place] for place in places])
        return [batch._replace(places=[places[own] for own in batch.places]) for batch in found]

    with ThreadPoolExecutor(len(encoders), thread_name_prefix="encoding") as pool:
        for start in range(0, len(batches), len(encoders)):
            # Round by round: no device runs so far ahead that finished batches pile up in memory.
            for found in list(pool.map(run, encoders, batches[start : start + len(encoders)])):
                yield from found
