#!/usr/bin/env python3
"""A made-up dictionary and model in jieba's files, and what jieba 0.42.1 itself does with them.  usage: make_jieba.py OUT_FOLDER

Few characters, few different numbers: paths of equal score, words within words and unknown words are everywhere. cases.json: [text, words, ids] for a vocabulary in
ant.txt's form (vocab.txt) and CPM-Ant's greedy longest match. Needs the python module jieba.
"""
import json, os, random, sys
import jieba, jieba.finalseg

assert jieba.__version__ == "0.42.1"
jieba.setLogLevel(60)
out = sys.argv[1]
os.makedirs(f"{out}/finalseg", exist_ok=True)
rng = random.Random(7)
HAN = [chr(c) for c in (0x4E00, 0x4E01, *range(0x5200, 0x5214), 0x9FD4, 0x9FD5)]

lines = []
for _ in range(260):
    word = "".join(rng.choice(HAN) for _ in range(rng.choice([1, 1, 2, 2, 2, 3, 3, 4, 6])))
    lines.append(f"{word} {rng.choice([1, 2, 4, 8, 16, 3, 100, 4096])} n")
lines += ["C++ 5 nz", "AT&T 3 nz", "3丁 2 n", "丁3 2", "abc 7 eng", "e-x 1 x", "γ一丁 9 n", "刀刀 0 n", "刁刁 6 n", "刁刁 2 n", "100% 4 m"]
dictionary = f"{out}/dict.txt"
open(dictionary, "w", encoding="utf-8", newline="").write("".join(line + rng.choice(["\n", "\n", "\r\n", " \n"]) for line in lines))

STATES = "BMES"
start = {"B": -0.5, "E": -3.14e100, "M": -3.14e100, "S": -1.0}
transitions = {"B": {"E": -0.5, "M": -1.0}, "E": {"B": -0.5, "S": -1.0}, "M": {"E": -0.5, "M": -0.75}, "S": {"B": -0.75, "S": -0.5}}
emissions = {s: {c: -rng.choice([0.5, 1.0, 1.5, 2.25, 0.1, 7.0]) for c in HAN if rng.random() < 0.8} for s in STATES}
emissions["S"]["∶"] = -1.0
head = "from __future__ import unicode_literals\n\n"
table = lambda t: "{" + ",\n ".join(f"{ascii(k)}: {table(v) if isinstance(v, dict) else repr(v)}" for k, v in t.items()) + "}"
for name, t in (("start", start), ("trans", transitions), ("emit", emissions)):
    open(f"{out}/finalseg/prob_{name}.py", "w", encoding="utf-8").write((head if name == "emit" else "") + "P=" + table(t) + "\n")
jieba.finalseg.start_P, jieba.finalseg.trans_P, jieba.finalseg.emit_P = start, transitions, emissions

words = [line.split(" ")[0] for line in lines]
vocabulary = ["<pad>", "<unk>", "<mask>", "<sep>", "</n>", "</_>", "<s>", "</s>", "<d>", "</d>"]
vocabulary += list(dict.fromkeys(HAN[::2] + [w for w in words if len(w) > 1][::3] + HAN[1:9] + [*"abcxyz0123.%<>/s", "...", "AT", "，", "。", "\t", "\u3000", "😀", "é"]))
open(f"{out}/vocab.txt", "w", encoding="utf-8").write("\n".join(vocabulary))
ids = {token: i for i, token in enumerate(vocabulary)}
ids[" "], ids["\n"] = ids.pop("</_>"), ids.pop("</n>")

cutter = jieba.Tokenizer(dictionary)
cutter.FREQ, cutter.total = jieba.Tokenizer.gen_pfdict(open(dictionary, "rb"))
cutter.initialized = True  # without its cache


def encode(pieces):
    found = []
    for word in pieces:
        if len(word) > 200:
            found.append(ids["<unk>"])
            continue
        at = 0
        while at < len(word):
            end = next((e for e in range(len(word), at, -1) if word[at:e] in ids), 0)
            found.append(ids[word[at:end]] if end else ids["<unk>"])
            at = end or at + 1
    return found


OTHER = ["，", "。", " ", "\n", "\r\n", "\r", "\t", "\u3000", "\u2028", "\x85", "\x1c", "😀", "é", "\u4dff", "\u9fd6", "\ud7ff", "\ue000", "\U0010ffff", "...", "3.14%", "1.2.3", "C++", "AT&T", "abc",
         "e-x", "100%", "+&", "a1.5b", "<s>", "</s>", "<unk>", "</_>", "_", "\0"]
texts = ["", "...", "<s>x</s>", "a\r\nb", "a" * 200, "a" * 201, "刀刀", "刁刁", "γ一丁"]
for _ in range(140):
    kind = rng.randrange(4)
    pick = [lambda: rng.choice(words), lambda: rng.choice(HAN), lambda: rng.choice(words)[:2] + rng.choice(HAN), lambda: rng.choice(OTHER + words + HAN)][kind]
    texts.append("".join(pick() for _ in range(rng.randrange(1, 22))))
cases = []
for text in texts:
    pieces = list(cutter.cut(text))
    assert "".join(pieces) == text
    cases.append([text, pieces, encode(pieces)])
with open(f"{out}/cases.json", "w") as file:
    file.write("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")
