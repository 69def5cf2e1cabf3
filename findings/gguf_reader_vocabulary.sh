#!/usr/bin/env bash
# gguf 0.19.0: opening a file of 150,000 tokens with GGUFReader takes some 3 kB of memory a token and seconds.
#
# Expected: opening a file reads its metadata, a few megabytes of strings, in a fraction of a second.
# Seen:     each string becomes several numpy arrays and list entries: half a gigabyte before any tensor is looked at,
#           13 s for the vocabulary of a Qwen2.5 file, whose strings are read with struct in 0.3 s.
# Harm:     a tool that only asks a file for its architecture or size needs seconds, and more memory than the weights
#           of a small model; on a small machine it is killed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1

cat > "$folder/vocabulary.py" << 'PYTHON'
import resource
import sys
import time

import gguf

path, count = sys.argv[1], 150_000
tokens = [f"token{number}" for number in range(count)]
writer = gguf.GGUFWriter(path, "llama")
writer.add_token_list(tokens)
writer.add_token_merges([f"{token} x" for token in tokens])
writer.add_token_types([1] * count)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


before, started = peak(), time.perf_counter()
reader = gguf.GGUFReader(path)
more = peak() - before
spent, size = time.perf_counter() - started, reader.data.nbytes / 1e6
print(f"gguf {sys.argv[2]}: {spent:.1f} s and {more:.0f} MB for a file of {size:.1f} MB")
print("more than 20 times the file:", more > 20 * reader.data.nbytes / 2**20)
PYTHON

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq "gguf==0.19.0"
"$folder/venv/bin/python" "$folder/vocabulary.py" "$folder/vocabulary.gguf" 0.19.0 | tee "$folder/seen"
grep -qF 'more than 20 times the file: True' "$folder/seen"
