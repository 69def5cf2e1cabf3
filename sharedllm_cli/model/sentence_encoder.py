"""Sentences as vectors: a text and a question that mean alike have a large cosine, whatever their words.

The encoder is a small BERT of its own (`weights/encoders.py`), no part of the base model. It runs in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sharedllm_cli.errors import ModelError
from sharedllm_cli.weights.encoders import ENCODER, encoder_folder
from sharedllm_cli.weights.tokenizer_files import quiet_transformers

PIECE_TOKENS = 254
"""The encoder was trained on texts of up to 256 tokens, two of them its own; longer ones are cut into pieces."""
_BATCH_TOKENS = 1024
_OWN_TOKENS = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]"}


class SentenceEncoder:
    """A BERT whose last states, averaged over a text, are the text's vector."""

    def __init__(self, folder: Path, device: torch.device | str = "cpu") -> None:
        """Load from a folder of `encoder_folder`; ModelError where it doesn't hold such a model."""
        import transformers

        # what transformers returns depends on what it is asked, which its annotations don't say
        tokenizers: Any = transformers.PreTrainedTokenizerFast
        models: Any = transformers.BertModel
        try:
            self._tokenizer: Any = tokenizers(tokenizer_file=str(folder / "tokenizer.json"), **_OWN_TOKENS)
            with quiet_transformers():
                loaded: tuple[Any, dict[str, Any]] = models.from_pretrained(
                    folder,
                    add_pooling_layer=False,  # it serves classification
                    dtype=torch.float32,
                    use_safetensors=True,
                    local_files_only=True,
                    output_loading_info=True,
                )
            self._model, report = loaded
            if report["missing_keys"]:
                raise ModelError(f"it lacks {', '.join(sorted(report['missing_keys'])[:3])}")
        except Exception as error:  # whatever the libraries say of a damaged file
            raise ModelError(
                f"the sentence encoder in {folder} can't be loaded: {str(error).splitlines()[0]}",
                hint=f"delete it with `sharedllm models rm {folder.name}` and pull it again",
            ) from error
        self._model.to(device).eval()
        self._device = device

    @property
    def width(self) -> int:
        """The length of a vector."""
        return int(self._model.config.hidden_size)

    def encode(self, texts: Sequence[str], advance: Callable[[int], None] = lambda texts: None) -> np.ndarray:
        """The vectors of texts, [texts, width] float32, each of length 1; `advance` gets the number of texts done.

        A text that is longer than `PIECE_TOKENS` counts by all of its pieces, each for its tokens; an empty one has a
        vector, too.
        """
        found = np.zeros((len(texts), self.width), dtype=np.float32)
        if not texts:
            return found
        ids = self._tokenizer(list(texts), add_special_tokens=False, truncation=False, padding=False)["input_ids"]
        pieces = [
            (place, own[first : first + PIECE_TOKENS])
            for place, own in enumerate(ids)
            for first in range(0, max(1, len(own)), PIECE_TOKENS)
        ]
        pieces.sort(key=lambda piece: len(piece[1]))
        left = np.bincount([place for place, _ in pieces], minlength=len(texts))
        while pieces:
            count = max(1, _BATCH_TOKENS // (len(pieces[-1][1]) + 2))
            batch, pieces = pieces[-count:], pieces[:-count]
            places = [place for place, _ in batch]
            np.add.at(found, places, self._summed([own for _, own in batch]))
            np.subtract.at(left, places, 1)
            advance(sum(not left[place] for place in set(places)))
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        return np.asarray(found / np.where(lengths == 0, 1, lengths), dtype=np.float32)

    @torch.inference_mode()
    def _summed(self, pieces: Sequence[Sequence[int]]) -> np.ndarray:
        """The last states of each piece, added up: [pieces, width]."""
        first, last = self._tokenizer.cls_token_id, self._tokenizer.sep_token_id
        longest = max(map(len, pieces)) + 2
        token_ids = torch.full((len(pieces), longest), self._tokenizer.pad_token_id, dtype=torch.long)
        seen = torch.zeros((len(pieces), longest), dtype=torch.long)
        for row, own in enumerate(pieces):
            token_ids[row, : len(own) + 2] = torch.tensor([first, *own, last])
            seen[row, : len(own) + 2] = 1
        token_ids, seen = token_ids.to(self._device), seen.to(self._device)
        states: Tensor = self._model(input_ids=token_ids, attention_mask=seen).last_hidden_state
        summed: np.ndarray = (states * seen.unsqueeze(-1)).sum(1).float().cpu().numpy()
        return summed


class PulledEncoder:
    """The encoder that lies in the home folder, loaded when the first text is encoded."""

    def __init__(self, folder: Path, device: torch.device | str = "cpu") -> None:
        self._folder = folder
        self._device = device
        self.name = ENCODER.name
        self.weights_hash = ENCODER.weights_hash
        self.layers = ENCODER.layers

    @staticmethod
    def of(home: Path, device: torch.device | str = "cpu") -> PulledEncoder | None:
        """The encoder of a home folder, None where none was pulled."""
        folder = encoder_folder(home)
        return None if folder is None else PulledEncoder(folder, device)

    @cached_property
    def encoder(self) -> SentenceEncoder:
        """The loaded model; raises ModelError."""
        return SentenceEncoder(self._folder, self._device)
