"""Plants one mistake after another into a schedule and sees that its tests find each. Standard library only."""
import pathlib
import shutil
import subprocess
import sys
import tempfile


def run(schedule, test, mutations):
    """mutations: (what is wrong, file, text that is there once, text in its place), in files of the source folder that the schedule's tests compile."""
    source, compiler = pathlib.Path(sys.argv[1]), (sys.argv[2] if len(sys.argv) > 2 else "c++")
    passed = failed = 0
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

        def outcome():
            """True: the tests pass, False: they fail, none: it does not compile."""
            parts = [(tree / schedule, tree / "schedule.o"), (tree / test, tree / "test.o")]
            for code, made in parts:
                if subprocess.run([*compile_, "-c", code, "-o", made], capture_output=True).returncode:
                    return None
            subprocess.run([compiler, tree / "main.o", *(made for _, made in parts), "-o", tree / "tests_of_it"], check=True)
            try:
                return subprocess.run([tree / "tests_of_it"], capture_output=True, timeout=60).returncode == 0
            except subprocess.TimeoutExpired:
                return False

        if outcome() is not True:
            sys.exit("the tests do not pass without a mistake")
        for name, file, old, new in mutations:
            text = (source / file).read_text(encoding="utf-8")
            if text.count(old) != 1:
                sys.exit(f"{name}: the place to change is there {text.count(old)} times in {file}")
            (tree / file).write_text(text.replace(old, new), encoding="utf-8")
            found = outcome()
            (tree / file).write_text(text, encoding="utf-8")
            passed, failed = passed + (found is False), failed + (found is not False)
            print(f"{'found' if found is False else 'NOT FOUND' if found else 'does not compile'}: {name}", flush=True)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)
