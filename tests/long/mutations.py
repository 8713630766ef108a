"""Plants one mistake after another into a schedule and sees that its tests find each. Standard library only."""
import pathlib
import shutil
import subprocess
import sys
import tempfile


def tell(source, tree, mutations, outcome):
    """Plants each of them into the copy of its file in `tree`, tells what outcome(file) says of it, and exits with 1 where a mistake was not found.

    mutations: (what is wrong, file, text that is there once, text in its place[, text, text in its place ...]), in files of the source folder.
    outcome: True: the tests pass, none: it does not compile, otherwise how they fail."""
    passed = failed = 0
    for name, file, *changes in mutations:
        text = planted = (source / file).read_text(encoding="utf-8")
        for old, new in zip(changes[::2], changes[1::2]):
            if text.count(old) != 1:
                sys.exit(f"{name}: the place to change is there {text.count(old)} times in {file}")
            planted = planted.replace(old, new)
        (tree / file).parent.mkdir(exist_ok=True)
        (tree / file).write_text(planted, encoding="utf-8")
        found = outcome(file)
        (tree / file).write_text(text, encoding="utf-8")
        missed = found is True or found is None
        passed, failed = passed + (not missed), failed + missed
        print(f"{'NOT FOUND' if found is True else 'does not compile' if found is None else found}: {name}", flush=True)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


def run(schedule, test, mutations):
    """mutations of a schedule that its tests compile by themselves, or of headers that they include."""
    source, compiler = pathlib.Path(sys.argv[1]), (sys.argv[2] if len(sys.argv) > 2 else "c++")
    with tempfile.TemporaryDirectory() as scratch:
        tree = pathlib.Path(scratch)
        for folder in ("base", "offload"):
            (tree / folder).mkdir()
            for header in (source / folder).glob("*.h"):
                shutil.copy(header, tree / folder)
        shutil.copytree(source / "tests/offload", tree / "tests/offload")
        shutil.copy(source / schedule, tree / schedule)
        compile_ = [compiler, "-std=c++20", "-O1", "-w", "-I", str(tree)]
        subprocess.run([*compile_, "-c", source / "tests/test_main.cpp", "-o", tree / "main.o"], check=True)

        def outcome(_):
            parts = [(tree / schedule, tree / "schedule.o"), (tree / test, tree / "test.o")]
            for code, made in parts:
                if subprocess.run([*compile_, "-c", code, "-o", made], capture_output=True).returncode:
                    return None
            subprocess.run([compiler, tree / "main.o", *(made for _, made in parts), "-o", tree / "tests_of_it"], check=True)
            try:
                return subprocess.run([tree / "tests_of_it"], capture_output=True, timeout=60).returncode == 0 or "found"
            except subprocess.TimeoutExpired:
                return "found"

        if outcome(schedule) is not True:
            sys.exit("the tests do not pass without a mistake")
        tell(source, tree, mutations, outcome)
