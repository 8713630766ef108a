#!/usr/bin/env python3
"""Plants one mistake after another into what moves weights and rows between disk, host and device, and sees that steps of whole models on the checked device (tests/support/checked_device.h) find each. Standard library only.

usage: mutate_device.py SOURCE_FOLDER BUILD_FOLDER [COMPILER]

The build folder holds the libraries, without sanitizers. For each mistake one line says how it was found: "order" is a report of two accesses that nothing puts in order, or of memory that changed under a copy; "answer" wrong bits,
an exception or a crash; "hang" a run that does not end. Every mistake of ORDER has to be found as order; those of ANSWER are met by the host itself first, which the device knows nothing of: it finds poison, or a file's bytes that are not all there.
"""
import pathlib
import subprocess
import sys
import tempfile

from mutations import tell

WEIGHTS, EXECUTOR, COPIES, READS, PAGER = "runtime/device_weights.cpp", "runtime/device_executor.cpp", "offload/copy_ahead.cpp", "offload/read_ahead.cpp", "offload/pager.cpp"
COPY = "device_.copy_to_device(ring_.address() + copy->offset, blob.data() + skipped, {bytes}, copies_);"
WAIT_FOR_COPY, COPIED = "device_.wait(compute_, copied_events_[", "device_.record(copied_events_["
WAIT_FOR_USE, USED = "if (copy->after_use_of) device_.wait(copies_", "device_.record(used_events_["
RESULTS_RECORDED, RESULTS_WAITED = "  c_.device.record(results_up_, exchange_);\n", "  c_.device.wait(compute_, results_up_);\n"
INPUT_MADE = "    c_.device.wait(exchange_, input_made_);\n"
INPUT_SEEN = "    if (!input_is_here) c_.device.synchronize(input_down_);\n"
DOWN = "work_.rows(name), {rows * width * sizeof(float)}, stream);\n}\n\nvoid DeviceExecutor::begin"
UP = "reinterpret_cast<const std::byte*>(host_rows(name)), {rows * width * sizeof(float)}, compute_);"
QUANTIZE = "  launch.k = launch.x_stride = k;\n  c_.device.launch(launch, compute_);"
STAGED = "staging.data(), {bytes}, copies_);\n"

ORDER = [
    # second hop: host memory -> device
    ("a use does not wait for the copy", WEIGHTS, WAIT_FOR_COPY, "if (false) " + WAIT_FOR_COPY),
    ("a use waits for another event", WEIGHTS, WAIT_FOR_COPY, WAIT_FOR_COPY.replace("copied_events_", "used_events_")),
    ("a use waits for the copy before", WEIGHTS, ".slot(turn)]", ".slot(turn > 0 ? turn - 1 : 0)]"),
    ("the copy's own stream waits for it", WEIGHTS, WAIT_FOR_COPY, WAIT_FOR_COPY.replace("compute_", "copies_")),
    ("a copy is recorded before it is enqueued", WEIGHTS, COPY, "const auto late = [&] { " + COPY + " };", "copied_bytes_ += bytes;", "late();\n      copied_bytes_ += bytes;"),
    ("a copy is recorded on the other stream", WEIGHTS, ".slot(copy->turn)], copies_);", ".slot(copy->turn)], compute_);"),
    ("a copy is not recorded", WEIGHTS, COPIED, "if (false) " + COPIED),
    ("a copy does not wait for the uses of its place", WEIGHTS, WAIT_FOR_USE, WAIT_FOR_USE.replace("copy->after_use_of", "false")),
    ("a copy waits for the use before", WEIGHTS, ".slot(*copy->after_use_of)]", ".slot(*copy->after_use_of > 0 ? *copy->after_use_of - 1 : 0)]"),
    ("a copy waits after it", WEIGHTS, COPY, "", WAIT_FOR_USE, COPY + "\n      " + WAIT_FOR_USE),
    ("the uses' own stream waits for them", WEIGHTS, WAIT_FOR_USE, WAIT_FOR_USE.replace("copies_", "compute_")),
    ("a use is recorded on the other stream", WEIGHTS, ".next() - 1)], compute_);", ".next() - 1)], copies_);"),
    ("a use is not recorded", WEIGHTS, USED, "if (false) " + USED),
    ("what is copied to is known only by its first bytes", COPIES, "uses_in(*at, *at + next.slot_bytes)", "uses_in(*at, *at + 1)"),
    ("the last use in the way is not waited for", COPIES, "behind = turn + 1;", "behind = turn;"),
    ("the copy stream counts as behind all uses", COPIES, "      waited_ = region(past_).use;", "      waited_ = releases_;"),
    # rows
    ("the device does not wait for the host's results", EXECUTOR, RESULTS_WAITED, ""),
    ("the device waits for another event than that of the results", EXECUTOR, RESULTS_WAITED, RESULTS_WAITED.replace("results_up_", "input_down_")),
    ("the results are recorded on the other stream", EXECUTOR, RESULTS_RECORDED, RESULTS_RECORDED.replace("exchange_)", "compute_)")),
    ("the results' own stream waits for them", EXECUTOR, RESULTS_WAITED, RESULTS_WAITED.replace("compute_", "exchange_")),
    ("the input of the host's part comes down beside the kernel that makes it", EXECUTOR, INPUT_MADE, ""),
    ("the input's own stream waits until it is made", EXECUTOR, INPUT_MADE, INPUT_MADE.replace("exchange_", "compute_")),
    ("rows come down beside the kernels that make them", EXECUTOR, DOWN, DOWN.replace("stream)", "exchange_)")),
    ("rows go up beside the kernels that read them", EXECUTOR, UP, UP.replace("compute_", "exchange_")),
    ("a kernel runs on the other stream", EXECUTOR, QUANTIZE, QUANTIZE.replace("compute_", "exchange_")),
    ("a step ends before the device has", EXECUTOR, "vocabulary, compute_);\n  }\n  c_.device.synchronize(compute_);", "vocabulary, compute_);\n  }"),
    # first hop: disk -> host memory, under the second
    ("staging is filled while it is copied", WEIGHTS, STAGED + "    device_.synchronize(copies_);\n", STAGED),
    ("a source goes back to the ring of reads as soon as its copy is enqueued", WEIGHTS, "    else if (!device_.is_done(event))\n      return;\n", ""),
    ("a source goes back when the host is done with it, though it is being copied", WEIGHTS, "sources_[source].copy != Copying::no) return;", "sources_[source].copy == Copying::wanted) return;"),
    ("waiting for a copy does not wait", WEIGHTS, "      device_.synchronize(event);\n", "      void();\n"),
    ("the ring of reads gives back what is held", READS, "while (first_ < next_ && region(first_).stage == Stage::released) {", "while (first_ < next_) {"),
]
ANSWER = [
    ("a chunk is copied before it is read", PAGER, "return ahead.begun(turn) && (ahead.stage(turn) == State::Stage::ready || ahead.stage(turn) == State::Stage::failed);", "return ahead.begun(turn);"),
    ("the input of the host's part is recorded before it comes down", EXECUTOR, "    download(input, rows, first.k, exchange_);\n    c_.device.record(input_down_, exchange_);", "    c_.device.record(input_down_, exchange_);\n    download(input, rows, first.k, exchange_);"),
    ("the host multiplies an input that has not come down", EXECUTOR, INPUT_SEEN, ""),
    ("the host stores keys that have not come down", EXECUTOR, "RowBuffer::v, block.rows(), width, compute_);\n    c_.device.synchronize(compute_);", "RowBuffer::v, block.rows(), width, compute_);"),
    ("the host attends with queries that have not come down", EXECUTOR, "RowBuffer::q, block.rows(), width, compute_);\n    c_.device.synchronize(compute_);", "RowBuffer::q, block.rows(), width, compute_);"),
]
TESTS = "*on a device: random placements*,a step on a device that is stopped*"
LIBRARIES = [*(f"{folder}/libleafcutter_{folder}.a" for folder in ("runtime", "offload", "compress", "quant", "kernels", "base"))]
SYSTEM = ["-lzstd", "-luring", "-lpcre2-8", "-lfmt", "-lxxhash", "-pthread"]

source, build = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
compiler = sys.argv[3] if len(sys.argv) > 3 else "c++"
with tempfile.TemporaryDirectory() as scratch:
    tree = pathlib.Path(scratch)

    def compiled(code, made):
        flags = ["-std=c++20", "-O1", "-ffp-contract=off", "-w", f'-DLEAFCUTTER_SOURCE_DIR="{source}"', "-I", source, "-I", source / "include"]
        return subprocess.run([compiler, *flags, "-c", code, "-o", made], capture_output=True).returncode == 0

    parts = [tree / "main.o", tree / "placements.o", tree / "failures.o"]
    for code, made in zip(("tests/test_main.cpp", "tests/runtime/device/placements_test.cpp", "tests/runtime/device/failures_test.cpp"), parts):
        if not compiled(source / code, made):
            sys.exit(f"{code} does not compile")

    def outcome(file):
        if not compiled(tree / file if file else source / WEIGHTS, tree / "planted.o"):
            return None
        subprocess.run([compiler, *parts, tree / "planted.o", *(build / library for library in LIBRARIES), *SYSTEM, "-o", tree / "tests_of_it"], check=True)
        try:
            ran = subprocess.run([tree / "tests_of_it", f"--test-case={TESTS}", "--test-case-exclude=slow:*", "--abort-after=1"], capture_output=True, text=True, timeout=600)
        except subprocess.TimeoutExpired:
            return "hang"
        if ran.returncode == 0:
            return True
        return "order" if "nothing puts them in order" in ran.stdout or "changed by the host" in ran.stdout else "answer"

    if (how := outcome(None)) is not True:
        sys.exit(f"the tests do not pass without a mistake: {how}")
    in_order = {name for name, *_ in ORDER}
    planted = iter(ORDER + ANSWER)

    def found(file):
        """Of a mistake of order, what is found otherwise counts as missed."""
        name = next(planted)[0]
        how = outcome(file)
        if name in in_order and how not in (True, None, "order"):
            print(f"found, but as {how}:", end=" ")
            return True
        return how

    tell(source, tree, ORDER + ANSWER, found)
