"""Prompts for drafts.py: what repeats, exactly or with changes, and what does not. For a small English chat model; code and tables begin with the answer's first lines, so that it goes on with them."""
ANTS = (
    "Leafcutter ants cut what they cannot carry into pieces. They walk along a path which can be a hundred metres long, and every ant knows the way by its smell. The leaves are not eaten: in the nest "
    "smaller workers chew them into a soft paste, on which a fungus grows. The fungus is the food of the whole colony. When the weather is wet the ants wait, because a wet leaf is heavy and spoils the "
    "garden. A colony may have eight million workers and live for fifteen years, and its chambers reach six metres below the ground."
)
TABLE = (
    "List the ants, bees and wasps of this table as CSV lines name,family,size.\n\n| name | family | size |\n|---|---|---|\n| leafcutter ant | Formicidae | 14 mm |\n| honey bee | Apidae | 15 mm |\n"
    "| bumble bee | Apidae | 25 mm |\n| paper wasp | Vespidae | 20 mm |\n| hornet | Vespidae | 35 mm |\n| carpenter ant | Formicidae | 13 mm |\n| sweat bee | Halictidae | 8 mm |\n"
)
FUNCTION_PYTHON = '''def plan_route(stops, speed, depot):
    """Visits the stops nearest first, and returns the order and the hours it takes."""
    left = list(stops)
    here = depot
    order = []
    dist = 0.0
    while left:
        best = None
        best_dist = 0.0
        for stop in left:
            step = distance(here, stop)
            if best is None or step < best_dist:
                best = stop
                best_dist = step
        left.remove(best)
        order.append(best)
        dist += best_dist
        here = best
    dist += distance(here, depot)
    if speed <= 0:
        raise ValueError("speed must be positive")
    hours = dist / speed
    for index, stop in enumerate(order):
        stop.position = index
        stop.visited = True
    return order, hours
'''
FUNCTION_C = '''static int read_record(FILE *file, struct record *out) {
    unsigned char header[8];
    size_t got = fread(header, 1, sizeof header, file);
    if (got == 0) return 0;
    if (got < sizeof header) {
        fprintf(stderr, "short header\\n");
        return -1;
    }
    uint32_t length = header[0] | header[1] << 8 | header[2] << 16;
    uint32_t kind = header[4];
    if (length > MAX_RECORD) {
        fprintf(stderr, "record too long\\n");
        return -1;
    }
    out->data = malloc(length);
    out->length = length;
    out->kind = kind;
    got = fread(out->data, 1, length, file);
    if (got < length) {
        fprintf(stderr, "short record\\n");
        free(out->data);
        return -1;
    }
    return 1;
}
'''
PEOPLE = '''[
  {"id": 101, "name": "Anna Berg", "city": "Oslo", "role": "engineer", "active": true},
  {"id": 102, "name": "Carlos Diaz", "city": "Madrid", "role": "designer", "active": false},
  {"id": 103, "name": "Mei Lin", "city": "Shanghai", "role": "engineer", "active": true},
  {"id": 104, "name": "John Smith", "city": "London", "role": "manager", "active": true},
  {"id": 105, "name": "Fatima Said", "city": "Cairo", "role": "analyst", "active": false},
  {"id": 106, "name": "Peter Novak", "city": "Prague", "role": "engineer", "active": true}
]
'''
PEAKS = '''name,country,height,first ascent
Mount Everest,Nepal,8849 m,1953
K2,Pakistan,8611 m,1954
Kangchenjunga,Nepal,8586 m,1955
Lhotse,Nepal,8516 m,1956
Makalu,Nepal,8485 m,1955
Cho Oyu,Nepal,8188 m,1954
Dhaulagiri,Nepal,8167 m,1960
Manaslu,Nepal,8163 m,1956
'''
LIGHTHOUSE = (
    "The lighthouse at Cape Morrow was built in 1871 from granite that was cut on the mainland and carried across the bay in flat boats. Its lamp burned whale oil for nine years, then paraffin, and it has been electric since "
    "1928. The keeper climbed two hundred and twelve steps each evening to wind the clockwork that turned the lens. In the storm of January 1904 the sea broke the windows of the lower rooms, and the keeper's family spent three "
    "nights in the lantern room. The last keeper left in 1983, when the light was made automatic. Today the tower belongs to the town council, which opens it to visitors between May and September. About eleven thousand "
    "people climb the stairs each year, and the money from the tickets pays for paint and for the repair of the stonework."
)
MINUTES = (
    "Minutes of the meeting of 4 March. The committee agreed to move the spring market from the old square to the river field, because the square is being paved. Mrs Alder will write to the stall holders before the end of the month. "
    "The budget for music was raised from 400 to 650 pounds. Mr Finch reported that the marquee needs a new pole and that the supplier has promised delivery by 20 April. The raffle will be held at four o'clock, and the prizes will "
    "be kept in the school until then. Volunteers are needed for the car park. The next meeting is on 1 April at seven in the evening."
)
MISSPELT = LIGHTHOUSE.replace("granite", "granit").replace("clockwork", "clokwork").replace("stonework", "stonwork").replace("family", "familly").replace("council", "councel")


def rewritten(kind, before, wish, after, lines, tokens):
    """A text, what is wished, and the first lines of it changed so; the answer ends with the fence."""
    begun = "\n".join(after.splitlines()[:lines])
    return [f"```{kind}\n{before}```\n\n{wish}\n\n```{kind}\n{begun}", "-n", tokens, "--stop", "```"]


def asked(question, tokens, *more):
    return [question, "--chat", "-n", tokens, *more]


HINTED = FUNCTION_PYTHON.replace("(stops, speed, depot)", "(stops: list[Stop], speed: float, depot: Stop) -> tuple[list[Stop], float]")
RENAMED_PYTHON = FUNCTION_PYTHON.replace("left", "remaining").replace("best_dist", "shortest").replace("dist ", "total_km ")
RENAMED_C = FUNCTION_C.replace("header", "head").replace("length", "bytes")
RENAMED_PEOPLE = PEOPLE.replace('"role"', '"job"').replace('"active"', '"enabled"')
STORY = "Write a short story about a lighthouse keeper who finds a strange clock on the beach."

REPEATING = {
    "a text copied": [f"{ANTS}\n\nHere is the same text once more, word for word:\n\nLeafcutter ants cut", "-n", 120],
    "spelling corrected": asked(f"Correct the spelling mistakes and write the whole text again.\n\n{MISSPELT}", 160),
    "sentences quoted": asked(f"Quote the three most important sentences of this text, word for word.\n\n{LIGHTHOUSE}", 120),
    "an answer in the text's words": asked(
        f"{LIGHTHOUSE}\n\nAnswer with sentences of the text: who climbed the steps, what happened in 1904, and who owns the tower today?", 120
    ),
    "a summary that quotes": asked(f"Summarize the following text.\n\n{LIGHTHOUSE}", 120),
    "minutes summarized": asked(f"Summarize these minutes as a list of decisions.\n\n{MINUTES}", 130),
    "a function, a name replaced (Python)": rewritten(
        "python", FUNCTION_PYTHON, "The same function with `left` renamed to `remaining` and `dist` to `total_km`:", RENAMED_PYTHON, 8, 200
    ),
    "a function, types added (Python)": rewritten("python", FUNCTION_PYTHON, "The same function with type hints:", HINTED, 2, 200),
    "a function, a check added (C)": rewritten(
        "c", FUNCTION_C, "The same function, but it also returns -1 when `malloc` returns NULL:", FUNCTION_C, 3, 180
    ),
    "a function, names replaced (C)": rewritten("c", FUNCTION_C, "The same function with `header` renamed to `head` and `length` renamed to `bytes`:", RENAMED_C, 3, 180),
    "fields renamed (JSON)": rewritten("json", PEOPLE, 'After renaming the field "role" to "job" and "active" to "enabled":', RENAMED_PEOPLE, 2, 200),
    "a table rewritten": asked(TABLE, 160),
}
OTHERS = {
    "a summary in other words": asked(f"Summarize what follows in a few sentences.\n\n{ANTS}", 120),
    "a story": asked(STORY, 160),
    "a story, sampled": asked(STORY, 160, "--temp", 0.8, "--seed", 5),
    "a letter, sampled": asked("Write a letter to a friend about a journey through Portugal.", 160, "--temp", 0.9, "--seed", 3),
    "a letter, sampled hot": asked("Write a letter to a friend about a journey through Portugal.", 160, "--temp", 1.5, "--top-k", 0, "--top-p", 1, "--min-p", 0, "--seed", 3),
}
