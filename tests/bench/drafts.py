#!/usr/bin/env python3
"""What drafts give: `run` without and with them, alternating; tokens must be equal. Standard library only.

usage: drafts.py LEAFCUTTER MODEL.leaf [--memory SIZE --link disk=RATE] [--rounds 5]        look-up, on texts that repeat and on others (draft_texts.py)
       drafts.py LEAFCUTTER MODEL.leaf --draft SMALL.leaf --ids-file FILE [--prompt-tokens 60] [...]   a draft model, by tokens a step

A round in which others took more than a third of a core (--others) is dropped and counted.
"""
import argparse

from draft_texts import OTHERS, REPEATING
from measure import MOST_OTHERS, Run, spread


def compare(options, name, prompt, contenders):
    runs, dropped, ids = {contender: [] for contender in contenders}, 0, None
    base = [options.leafcutter, "run", options.model, "--json", *prompt]
    if "--temp" not in prompt:
        base += ["--temp", 0]
    for flag in ("memory", "link", "ctx_size"):
        if getattr(options, flag):
            base += ["--" + flag.replace("_", "-"), getattr(options, flag)]
    for _ in range(options.rounds):
        together = {contender: Run([str(word) for word in base + flags]) for contender, flags in contenders.items()}
        if max(run.others for run in together.values()) > options.others:
            dropped += 1
            continue
        for contender, run in together.items():
            done = run.last_json()
            ids = ids or done["ids"]
            if done["ids"] != ids:
                raise SystemExit(f"{name}: {contender} gives other tokens")
            runs[contender].append(done)
    plain, *rest = contenders
    for contender in rest:
        pairs = [with_drafts["tokens_per_s"] / without["tokens_per_s"] for without, with_drafts in zip(runs[plain], runs[contender])]
        if not pairs:
            print(f"{name}: {contender}: others kept the machine busy")
            continue
        last = runs[contender][-1]["speculation"]
        counts = last["model"] if last["model"]["steps"] else last["lookup"]
        print(
            f"{name}, {len(ids)} tokens: {contender} {spread(pairs)} of {spread([done['tokens_per_s'] for done in runs[plain]])} tok/s; "
            f"predicted {spread([done['speculation']['predicted_gain'] for done in runs[contender]])}; "
            f"{counts['accepted']} of {counts['drafted']} drafts in {counts['steps']} steps, acceptance {counts['acceptance']:.2f}, {len(ids) / last['steps']:.2f} tokens a step; {dropped} rounds dropped",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    for name in ("leafcutter", "model"):
        parser.add_argument(name)
    for name in ("--memory", "--link", "--ctx-size", "--draft", "--ids-file"):
        parser.add_argument(name)
    parser.add_argument("--prompt-tokens", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--others", type=float, default=MOST_OTHERS, help="cores that others may take before a round is dropped; a throttled disk bears more")
    parser.add_argument("--only", help="texts whose name begins so, several separated by commas")
    options = parser.parse_args()
    if options.draft:
        with open(options.ids_file, encoding="ascii") as file:
            ids = ",".join(file.read().split()[: options.prompt_tokens])
        contenders = {"without": ["--lookup", "off"]}
        for tokens in (1, 2, 4, 7):
            contenders[f"{tokens} drafts a step"] = ["--lookup", "off", "--draft", options.draft, "--draft-tokens", tokens]
        contenders["as many as pay"] = ["--lookup", "off", "--draft", options.draft]
        contenders["with look-up"] = ["--draft", options.draft]
        compare(options, "a text continued", ["--ids", ids, "-n", 120, "--ignore-eos"], contenders)
        return
    for name, prompt in (REPEATING | OTHERS).items():
        if name.startswith(tuple((options.only or "").split(","))):
            compare(options, name, prompt, {"without": ["--lookup", "off"], "auto": ["--lookup", "auto"]})


main()
