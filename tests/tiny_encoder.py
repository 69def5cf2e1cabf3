"""A tiny random sentence encoder with a tokenizer of letters, written to a folder as its makers would."""

from __future__ import annotations

from pathlib import Path

OWN = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


def write_tiny_encoder(folder: Path, seed: int = 0) -> Path:
    """Two layers, 16 wide; the tokenizer asks for padding and cutting, as the published one does."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel

    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=512,
    )
    model = BertModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    model.save_pretrained(folder)
    vocabulary = {word: number for number, word in enumerate([*OWN, *"abcdefghijklmnopqrstuvwxyz.?,'"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=8, pad_token="[PAD]", pad_id=0)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
