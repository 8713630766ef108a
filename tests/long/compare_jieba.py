#!/usr/bin/env python3
"""The word segmenter and CPM-Ant's tokenizer beside jieba itself.  usage: compare_jieba.py JIEBA_WORDS [LINES] [SEED]

JIEBA_WORDS is the program of jieba_words.cpp. Makes LINES lines (default 24000) of varied text from the dictionary's words, its characters and all corners of Unicode, and
compares word by word with jieba.cut, id by id with the greedy longest match of the reference over a vocabulary made here. Exit status 77 when jieba 0.42.1 is not there.
"""
import os, random, subprocess, sys, tempfile

try:
    import jieba
except ImportError:
    sys.exit(print("skipped: no python module jieba") or 77)
if jieba.__version__ != "0.42.1":
    sys.exit(print(f"skipped: jieba is {jieba.__version__}, 0.42.1 is the reference") or 77)
jieba.setLogLevel(60)
program, lines, seed = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 24000, int(sys.argv[3]) if len(sys.argv) > 3 else 1
folder = os.path.dirname(jieba.__file__)
rng = random.Random(seed)

words = [w for w in (line.split(" ")[0] for line in open(f"{folder}/dict.txt", encoding="utf-8")) if w]
frequent = sorted(((int(line.split(" ")[1]), line.split(" ")[0]) for line in open(f"{folder}/dict.txt", encoding="utf-8")), reverse=True)[:20000]
frequent = [w for _, w in frequent]
characters = [chr(c) for c in range(0x4E00, 0x9FD6)]
common = sorted({c for w in frequent for c in w})
latin_words = [w for w in words if w.isascii()] + [w for w in words if any(c.isascii() for c in w)]
SPACES = [chr(c) for c in range(0x3001) if chr(c).isspace()] + ["\u200b", "\ufeff", "\u180e", "\u2060"]
PUNCTUATION = list("，。！？；：、“”‘’（）《》【】…—·～￥,.!?;:\"'()[]{}<>/\\|@#$%^&*-_=+`~")
EDGES = [chr(c) for c in (0x4DFF, 0x4E00, 0x9FD5, 0x9FD6, 0x9FFF, 0x3400, 0x20000, 0x2A6DF, 0xD7FF, 0xE000, 0xF8FF, 0xFFFD, 0xFFFE, 0xFFFF, 0x10000, 0x10FFFF,
                          0x7F, 0x80, 0x85, 0xA0, 0x7FF, 0x800, 0x2236, 0x660, 0x966, 0xFF10, 0xFF21, 0x0130, 0x1F600, 0x1F1E6, 0x200D)]
CONTROLS = [chr(c) for c in (*range(0x20), 0x7F, *range(0x80, 0xA0))]
EMOJI = ["😀", "👨‍👩‍👧", "🇨🇳", "❤️", "🤷🏽‍♀️", "☃"]


def number():
    return rng.choice([str(rng.randrange(10 ** rng.randrange(1, 9))), f"{rng.random() * 100:.{rng.randrange(5)}f}", f"{rng.random() * 100:.1f}%", "1.2.3", "3.", ".5", "50%%",
                       "2022年", "1-2", "+86", "100.%", "a1.5b", "0.0.0.0%"])


def latin():
    return rng.choice([rng.choice(latin_words), "".join(rng.choice("abcXYZ019+#&._%-") for _ in range(rng.randrange(1, 9))), "Hello", "GPU", "e.g.", "C++", "AT&T", "_x_"])


def name():  # what the dictionary does not have: the model has to guess
    return "".join(rng.choice(rng.choice([common, characters])) for _ in range(rng.randrange(1, 5)))


def line():
    kind = rng.randrange(8)
    if kind == 0: return "".join(rng.choice(frequent) for _ in range(rng.randrange(1, 25)))
    if kind == 1: return "".join(rng.choice(words) for _ in range(rng.randrange(1, 15)))
    if kind == 2: return "".join(rng.choice(common) for _ in range(rng.randrange(1, 60)))
    if kind == 3: return "".join(rng.choice(characters) for _ in range(rng.randrange(1, 40)))
    if kind == 4: return "".join(rng.choice([rng.choice(frequent), rng.choice(PUNCTUATION), number(), latin(), name()]) for _ in range(rng.randrange(1, 25)))
    if kind == 5: return "".join(rng.choice([rng.choice(frequent)[:2], rng.choice(SPACES), rng.choice(CONTROLS), rng.choice(EDGES), rng.choice(EMOJI), "\r\n", "\r", latin()])
                                 for _ in range(rng.randrange(1, 30)))
    if kind == 6: return "".join(latin() + rng.choice(["", "", " ", "的", "-", "."]) for _ in range(rng.randrange(1, 15)))
    # Parts of words, and words that overlap: ties and near ties.
    pieces = []
    for _ in range(rng.randrange(1, 20)):
        w = rng.choice(words if rng.random() < 0.5 else frequent)
        pieces.append(w[rng.randrange(len(w)):] if rng.random() < 0.5 else w[:rng.randrange(len(w)) + 1])
    return "".join(pieces)


# Known words of known texts: that the reference itself is the one that is meant.
KNOWN = {"今天天气真好！": "今天天气/真/好/！", "今天天气不错，": "今天天气/不错/，", "新年快乐，万事如意！": "新年快乐/，/万事如意/！", "Hello world 2022年": "Hello/ /world/ /2022/年",
         "a\nb c\td": "a/\n/b/ /c/\t/d", "3.14%的GPU用户": "3.14%/的/GPU/用户", "他来到了网易杭研大厦": "他/来到/了/网易/杭研/大厦", "……《红楼梦》": "…/…/《/红楼梦/》", "😀表情": "😀/表情",
         "a\r\nb": "a/\r\n/b", "全角\u3000空格": "全角/\u3000/空格", "[是否正确]": "[/是否/正确/]", "...": "..."}


class Differs(Exception):
    pass


def run(data, *arguments):
    return subprocess.run([program, folder, *arguments], input=data, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout


def compare(expected, found, what):
    if expected == found: return
    at = next((i for i, (a, b) in enumerate(zip(expected, found)) if a != b), min(len(expected), len(found)))
    raise Differs(f"{what} {at}: expected {expected[max(0, at - 5):at + 5]}, found {found[max(0, at - 5):at + 5]}")


def cut(text):
    return list(jieba.cut(text, cut_all=False, HMM=True))


def reference_ids(text, vocabulary):
    out = []
    longest = max(map(len, vocabulary))
    for word in cut(text):
        if len(word) > 200:
            out.append(vocabulary["<unk>"])
            continue
        at = 0
        while at < len(word):
            for end in range(min(len(word), at + longest), at, -1):
                if word[at:end] in vocabulary: break
            else:
                out.append(vocabulary["<unk>"])
                at += 1
                continue
            out.append(vocabulary[word[at:end]])
            at = end
    return out


def bytes_at_random():
    parts = []
    for _ in range(rng.randrange(1, 12)):
        parts.append(rng.choice([bytes(rng.randrange(256) for _ in range(rng.randrange(1, 5))), rng.choice(frequent).encode(), rng.choice(frequent).encode()[:-1],
                                 b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"\xe4\xb8", rng.choice(EDGES).encode()]))
    return b"".join(parts)


corpus = [line() for _ in range(lines)]
# Very long runs, and words that are longer than a word may be.
corpus += ["".join(rng.choice(frequent) for _ in range(3000)), "a" * 199, "a" * 200, "a" * 201, "1" * 500 + ".5%", "%" * 300, "".join(rng.choice(characters) for _ in range(2000)), ""]
try:
    for known, pieces in KNOWN.items():
        compare(pieces.split("/"), cut(known), f"{known}: jieba's word")
    corpus += [*KNOWN, "我们在假期去了法国的埃菲尔铁塔，", "<s>x</s>"]
    text = "\n".join(corpus)
    data, at, words_found = text.encode("utf-8"), 0, []
    for length in run(data).split():
        words_found.append(data[at:at + int(length)].decode("utf-8"))
        at += int(length)
    words_expected = cut(text)  # line breaks are words: nothing joins lines
    compare(words_expected, words_found, "word")

    specials = ["<pad>", "<unk>", "<mask>", "<sep>", "</n>", "</_>", "<s>", "</s>", "<d>", "</d>"]
    entries = list(dict.fromkeys(common[::2] + rng.sample(words, 20000) + list("abcdefghijklmnopqrstuvwxyz0123456789.%<>/") + PUNCTUATION[::2] + ["...", "\t", "\u3000", "\ufffd"]))
    vocabulary = {token: i for i, token in enumerate(specials + entries)}
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", newline="", suffix=".txt") as file:
        file.write("\n".join(vocabulary))
        file.flush()
        vocabulary[" "], vocabulary["\n"] = vocabulary.pop("</_>"), vocabulary.pop("</n>")
        text += "\n" + "".join(specials)
        compare(reference_ids(text, vocabulary), [int(x) for x in run(text.encode("utf-8"), file.name).split()], "id")
        broken = b"\n".join(bytes_at_random() for _ in range(lines // 4))
        compare(reference_ids(broken.decode("utf-8", "replace"), vocabulary), [int(x) for x in run(broken, file.name).split()], "id of broken text")
except Differs as difference:
    sys.exit(f"seed {seed}, {difference}")
print(f"{len(corpus)} lines, {len(words_expected)} words and their ids are as jieba {jieba.__version__} cuts them; {lines // 4} lines of broken UTF-8 too (seed {seed})")
