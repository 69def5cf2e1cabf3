"""How the files of a base model come to this machine and are known again: registry, hub, GGUF, tokenizer, hash."""
