#!/usr/bin/env python3
"""A vocabulary in ant.txt's form (one token a line, its id the line's number), and texts as ids. Needs jieba 0.42.1 and numpy.

usage: vocabulary.py make PREFIX [SIZE]        from PREFIX.train.txt: PREFIX.vocab.txt, PREFIX.train.npy, PREFIX.valid.npy
       vocabulary.py encode VOCAB TEXT         ids of a text file on stdout, with <s> in front

The vocabulary: CPM-Ant's special tokens, every character of the training text, then its most frequent words as jieba cuts them. A document is <s> ... </s>.
"""
import collections
import sys

import jieba
import numpy as np

SPECIALS = ["<pad>", "<unk>", "<mask>", "<sep>", "</n>", "</_>", "<s>", "</s>", "<d>", "</d>"]
LONGEST = 9  # code points of a token


def documents(path):
    with open(path, encoding="utf-8") as file:
        return [d for d in file.read().split("\n\n") if d.strip()]


def choose(cut_documents, size):
    words = collections.Counter(word for document in cut_documents for word in document)
    characters = sorted({c for word in words for c in word} - {"\n", " "})
    room = size - len(SPECIALS) - len(characters)
    frequent = [w for w, _ in words.most_common() if 1 < len(w) <= LONGEST and not w.isspace()]
    return SPECIALS + characters + frequent[:max(room, 0)]


def table_of(vocabulary):
    ids = {token: i for i, token in enumerate(vocabulary)}
    ids["\n"], ids[" "] = ids.pop("</n>"), ids.pop("</_>")
    return ids


def encode(pieces, ids):
    """Greedy longest match within each word; what has no token is dropped, as CPM-Live does."""
    out = []
    for word in pieces:
        at = 0
        while at < len(word):
            ends = [end for end in range(min(len(word), at + LONGEST), at, -1) if word[at:end] in ids]
            if ends:
                out.append(ids[word[at:ends[0]]])
            at = ends[0] if ends else at + 1
    return out


def make(prefix, size):
    cut = {kind: [list(jieba.cut(d)) for d in documents(f"{prefix}.{kind}.txt")] for kind in ("train", "valid")}
    vocabulary = choose(cut["train"], size)
    with open(f"{prefix}.vocab.txt", "w", encoding="utf-8") as file:
        file.write("\n".join(vocabulary))
    ids = table_of(vocabulary)
    for kind, texts in cut.items():
        stream = [t for text in texts for t in [SPECIALS.index("<s>")] + encode(text, ids) + [SPECIALS.index("</s>")]]
        np.save(f"{prefix}.{kind}.npy", np.array(stream, np.uint16))
        print(kind, len(stream), "tokens")
    print(len(vocabulary), "entries")


def main():
    if sys.argv[1] == "make":
        return make(sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 8192)
    with open(sys.argv[2], encoding="utf-8") as file:
        ids = table_of(file.read().split("\n"))
    with open(sys.argv[3], encoding="utf-8") as file:
        encoded = [SPECIALS.index("<s>")] + encode(jieba.cut(file.read()), ids)
    for start in range(0, len(encoded), 32):
        print(*encoded[start:start + 32])


if __name__ == "__main__":
    main()
