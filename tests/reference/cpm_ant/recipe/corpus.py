#!/usr/bin/env python3
"""Chinese text from Debian packages, a paragraph a line, each once.

usage: corpus.py ROOT PREFIX

ROOT holds the unpacked packages that README.md names. Writes PREFIX.train.txt and PREFIX.valid.txt: of 50 documents one is held out. Documents are separated by empty lines.
"""
import glob
import gzip
import hashlib
import html
import os
import re
import sys

BLOCK = re.compile(r"</?(?:p|div|li|h[1-6]|td|th|tr|dt|dd|pre|br|title)\b[^>]*>", re.I)
DROPPED = re.compile(r"<(script|style|head)\b.*?</\1>", re.I | re.S)
TAG = re.compile(r"<[^>]+>")
CHINESE = re.compile(r"[\u4e00-\u9fd5]")

PAGES = ("usr/share/libreoffice/help/zh-CN/**/*.html", "usr/share/doc/debian-handbook/html/zh-CN/*.html", "usr/share/debian-reference/*.zh-cn.html")
MANUALS = "usr/share/man/zh_CN/**/*.gz"
POEMS = ("tang300.u8", "song100.u8", "chinese.u8")


def read(path):
    opened = gzip.open(path, "rb") if path.endswith(".gz") else open(path, "rb")
    with opened as file:
        return file.read().decode("utf-8", errors="ignore")


def lines_of_page(text):
    text = html.unescape(TAG.sub("", BLOCK.sub("\n", DROPPED.sub("", text))))
    return [re.sub(r"\s+", " ", line).strip() for line in text.split("\n")]


def lines_of_manual(text):
    lines = [re.sub(r"^\.[A-Za-z]+\s?", "", line) for line in text.split("\n") if not line.startswith(('.\\"', "'\\\""))]
    return [re.sub(r"\\f[A-Z]|\\&|\\\||\\\^", "", line).replace("\\-", "-").replace('"', "").strip() for line in lines]


def documents(root):
    for pattern in PAGES:
        for path in sorted(glob.glob(os.path.join(root, pattern), recursive=True)):
            yield lines_of_page(read(path))
    for path in sorted(glob.glob(os.path.join(root, MANUALS), recursive=True)):
        if not os.path.islink(path):
            yield lines_of_manual(read(path))
    for name in POEMS:
        path = os.path.join(root, "usr/share/games/fortunes", name)
        if os.path.exists(path):
            for poem in re.sub(r"\x1b\[[0-9;]*m", "", read(path)).split("\n%"):
                yield [re.sub(r"\s+", "", line) for line in poem.split("\n")]


def is_chinese(line):
    return len(line) >= 6 and 3 * len(CHINESE.findall(line)) >= len(line)


def main():
    root, prefix = sys.argv[1:3]
    seen, counts = set(), {"train": 0, "valid": 0}
    with open(f"{prefix}.train.txt", "w", encoding="utf-8") as train, open(f"{prefix}.valid.txt", "w", encoding="utf-8") as valid:
        for number, lines in enumerate(documents(root)):
            kept = []
            for line in filter(is_chinese, lines):
                digest = hashlib.sha256(line.encode()).digest()
                if digest not in seen:
                    seen.add(digest)
                    kept.append(line)
            if sum(map(len, kept)) < 30:
                continue
            kind = "valid" if number % 50 == 7 else "train"
            counts[kind] += sum(map(len, kept))
            print("\n".join(kept) + "\n", file=valid if kind == "valid" else train)
    print(counts)


if __name__ == "__main__":
    main()
