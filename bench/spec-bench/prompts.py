"""The prompts of spec-bench: six tasks, written for it. Of those that are compared with peers there are
more than turns, for a peer may keep what it saw of one request for the next.

A task says how a drafter can help: code is easy for a smaller model to foresee; an edit and a summary
repeat what is in the prompt; chat and translation do neither; JSON has a shape of its own. Answers are
to be longer than any max_tokens here, so that most requests end by length.
"""

CODE = [
    "Write a Python class LRUCache with get, put and a capacity, on top of a dictionary and a doubly "
    "linked list. Write docstrings and type hints. Answer with code only.",
    "Write a C function that reads a text file line by line, counts how often each word occurs in a "
    "hash table with open addressing, and prints the twenty most frequent words. Answer with code only.",
    "Write a Python program that parses a CSV file of orders (date, customer, product, quantity, price), "
    "and prints the revenue by month and the five best customers. Answer with code only.",
    "Write JavaScript functions add, remove, find and forEach for a binary search tree, and a small test "
    "of each with console.assert. Answer with code only.",
    "Write a Python implementation of Dijkstra's shortest paths with a binary heap, a function that "
    "returns the path as a list of nodes, and an example graph of eight nodes. Answer with code only.",
    "Write a Go program with a worker pool: ten goroutines take URLs from a channel, fetch them with a "
    "time-out and send status and size to a second channel that main prints. Answer with code only.",
    "Write a Python class Matrix with addition, multiplication, transposition, a determinant by "
    "elimination and a readable __repr__. Answer with code only.",
    "Write a C implementation of a ring buffer of bytes with init, write, read, available and free, for "
    "one producer and one consumer, and a main that tries it. Answer with code only.",
    "Write SQL that creates tables for a library (books, members, loans), inserts three rows into each, "
    "and lists overdue loans with the member's name. Answer with code only.",
    "Write a Python script with argparse that walks a folder, finds files of the same content by their "
    "SHA-256 and prints them in groups, the largest first. Answer with code only.",
    "Write a Rust function that parses a string of digits, + - * / and parentheses into an expression "
    "tree, a function that evaluates it, and unit tests. Answer with code only.",
    "Write a JavaScript class EventEmitter with on, once, off and emit, where a listener that throws does "
    "not keep the others from being called. Answer with code only.",
    "Write a Python tokenizer for a small language with numbers, identifiers, strings, comments and "
    "operators, as a generator of named tuples with line numbers. Answer with code only.",
    "Write a Java class BankAccount with deposit, withdraw, transfer and a history of transactions, "
    "throwing an exception of its own when money is lacking. Answer with code only.",
    "Write a bash script that makes a dated archive of a folder given as its argument, keeps the newest "
    "seven archives and logs what it did with a time stamp. Answer with code only.",
    "Write Python code that plays tic-tac-toe against a human in the terminal, with minimax for the "
    "computer's moves and a check of what the human types. Answer with code only.",
]

_STOCK = '''class Stock:
    def __init__(self):
        self.items = {}

    def add(self, name, count):
        if name in self.items:
            self.items[name] = self.items[name] + count
        else:
            self.items[name] = count

    def take(self, name, count):
        if name not in self.items:
            raise KeyError(name)
        if self.items[name] < count:
            raise ValueError("not enough of " + name)
        self.items[name] = self.items[name] - count

    def total(self):
        total = 0
        for name in self.items:
            total = total + self.items[name]
        return total
'''

_VECTOR = '''struct vector {
    int *data;
    size_t length, capacity;
};

void vector_push(struct vector *v, int value)
{
    if (v->length == v->capacity) {
        v->capacity = v->capacity ? 2 * v->capacity : 8;
        v->data = realloc(v->data, v->capacity * sizeof *v->data);
    }
    v->data[v->length++] = value;
}

int vector_sum(const struct vector *v)
{
    int sum = 0;
    for (size_t i = 0; i < v->length; i++)
        sum += v->data[i];
    return sum;
}
'''

_ROUTES = '''function listUsers(request, response) {
    const users = database.users.filter((user) => user.active);
    response.setHeader("Content-Type", "application/json");
    response.end(JSON.stringify(users));
}

function showUser(request, response, id) {
    const user = database.users.find((user) => user.id === id);
    if (!user) {
        response.statusCode = 404;
        response.end("no such user");
        return;
    }
    response.setHeader("Content-Type", "application/json");
    response.end(JSON.stringify(user));
}
'''

_STATS = '''def mean(values):
    return sum(values) / len(values)


def variance(values):
    centre = mean(values)
    return sum((value - centre) ** 2 for value in values) / len(values)


def histogram(values, bins):
    low, high = min(values), max(values)
    width = (high - low) / bins
    counts = [0] * bins
    for value in values:
        index = min(int((value - low) / width), bins - 1)
        counts[index] += 1
    return counts
'''

_CONFIG = '''def read_config(path):
    config = {}
    with open(path) as f:
        for line in f:
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            key, value = line.split("=", 1)
            config[key.strip()] = value.strip()
    return config


def write_config(path, config):
    with open(path, "w") as f:
        for key in sorted(config):
            f.write(key + " = " + config[key] + "\\n")
'''

def _edits(language, code, *changes):
    return [f"{change} Repeat the whole code with this change and nothing else.\n\n"
            f"```{language}\n{code}```" for change in changes]


# The first of each, then the second of each, ...: neighbours have different code.
EDIT = [edit for edits in zip(
    _edits("python", _STOCK, "Rename the method take to remove and the attribute items to counts.",
           "Add a docstring to every method.", "Let add return the new count."),
    _edits("c", _VECTOR, "Change the element type from int to double everywhere.",
           "Rename the struct to list, and the functions to match.",
           "Let vector_push return 0, or -1 when realloc fails."),
    _edits("javascript", _ROUTES, "Rename user to account everywhere, also within names.",
           "Use let in the place of const.", "Add a comment above each function."),
    _edits("python", _STATS, "Add type hints to every function.",
           "Rename values to samples everywhere.", "Raise ValueError where the list is empty."),
    _edits("python", _CONFIG, "Add a parameter encoding to both functions, handed to open.",
           "Use colons in the place of equals signs between keys and values.",
           "Rename config to settings everywhere, also within names.")) for edit in edits]

_TEXTS = [
    "The harbour town of Vell was founded by fishermen in 1320. The harbour town grew rich from the salt "
    "trade, and in 1611 the town council built a stone lighthouse that still stands on the northern pier. "
    "A storm destroyed the fishing fleet in 1784, and many families left the harbour town for the capital. "
    "In 1866 a railway line reached the town, and the old salt houses along the quay became workshops for "
    "furniture. Today the town lives from visitors, who come to see the stone lighthouse on the northern "
    "pier, the old salt houses along the quay and the yearly festival of boats.",
    "The river Asmer rises from three springs below the Grey Saddle and runs for 210 kilometres to the "
    "sea. For its first forty kilometres it falls through a narrow valley, where four small power stations "
    "were built between 1921 and 1938. Below the town of Linn the valley opens, and the river Asmer winds "
    "through meadows that are under water every spring. The four small power stations have fish ladders "
    "since 2009, and salmon have returned to the upper river. Farmers in the meadows are paid to let the "
    "water stand until May, which helps birds that breed on the ground.",
    "The committee met on Tuesday to discuss the new library building. The architect presented two "
    "designs: a round building with a reading room in the centre, and a long building with a glass front "
    "towards the park. The round building would cost eleven million, the long building nine million. The "
    "treasurer said that the budget allows ten million at most. After two hours the committee asked the "
    "architect to make the round building cheaper by leaving out the roof garden, and to present the new "
    "costs at the next meeting in March. Three members voted against it.",
    "Bees of the species Osmia rufa live alone. A female looks for a hollow stem or a hole in old wood, "
    "and divides it into cells with walls of mud. In each cell she puts a store of pollen and lays one egg "
    "on it. The larva eats the store of pollen, spins a cocoon in late summer and spends the winter in it "
    "as a grown bee. Males leave the hole first in spring and wait for the females outside. Gardeners like "
    "these bees, because they fly at lower temperatures than honey bees and visit the flowers of fruit "
    "trees early in the year. A bundle of hollow stems on a sunny wall is enough to bring them.",
    "The night train from Corin to the coast will run again from June. It was given up in 2014, when the "
    "sleeping cars were forty years old and cheap flights took the passengers away. The new night train "
    "has sixteen cars, six of them with beds, four with seats and two for bicycles. A ticket with a seat "
    "costs 29, a ticket with a bed between 59 and 119. The railway expects 140,000 passengers in the first "
    "year. Environmental groups welcome the night train, but criticise that its locomotive runs on diesel "
    "for the last ninety kilometres, where the line has no wires.",
    "The museum of clocks in Ansel owns 3,200 clocks, of which about 400 are on show. The oldest is an iron "
    "tower clock of 1388 without a face; it only rang a bell. In the second room stands a clock of 1720 "
    "that shows the tides of four harbours. The museum was founded in 1954 by the watchmaker Ida Brunn, "
    "who bought broken clocks and repaired them in the evenings. Since her death a foundation runs the "
    "museum of clocks. All clocks on show are wound by hand every Monday, when the museum is closed, which "
    "takes two people five hours.",
    "Cork is the bark of an oak that grows around the western Mediterranean. A tree is twenty-five years "
    "old when its bark is taken off for the first time, and then again every nine years. The work is done "
    "with axes in early summer, when the bark comes off easily, and the tree is not harmed. The first bark "
    "is too hard for bottles and becomes floors and boards. About half of all cork comes from one country, "
    "where cutting down a living cork oak is forbidden. The forests of cork oak are home to lynxes, eagles "
    "and more than a hundred kinds of plants in a thousand square metres.",
    "The ferry between Orsa and the island of Hale broke down on Friday evening with 84 people on board. "
    "According to the company a pump failed, and sea water came into the engine room. The crew closed the "
    "doors and dropped the anchor two kilometres off the coast. Fishing boats and the lifeboat of Orsa "
    "brought all passengers ashore within three hours; two people were treated for shock. A tug pulled the "
    "ferry into the harbour on Saturday morning. Until it is repaired, which may take two weeks, a smaller "
    "ship without room for cars will sail twice a day.",
]

SUMMARY = ["Summarise this text in four sentences, in its own words where you can:\n\n" + text
           for text in _TEXTS]

CHAT = [
    "What should I think about before I adopt a dog from a shelter? Explain in some detail.",
    "Tell me a short story about a lighthouse keeper who finds a letter in a bottle.",
    "How does a refrigerator work? Explain it to someone who knows no physics.",
    "I have two weeks in autumn and like mountains and old towns. Where could I go, and why?",
    "Why did people begin to write things down? Give me several reasons and examples.",
    "My neighbour plays loud music every evening. How could I talk to him about it?",
    "What is inflation, who wins and who loses by it? Please explain with an everyday example.",
    "Describe a day in the life of a baker in a small town, two hundred years ago.",
    "I want to begin running but get out of breath quickly. What would you suggest for the first month?",
    "Why is the sky blue and the evening sky red? Explain it to a curious child.",
    "Give me ideas for a birthday party of twelve eight-year-olds on a rainy day.",
    "What are the advantages and the drawbacks of living in a big city?",
    "How do bees find their way back to the hive? Tell me what is known about it.",
    "I have rice, eggs, an onion, carrots and soy sauce. What can I cook, and how?",
    "Tell me about a fictional island, its landscape, its animals and the people who live there.",
    "What should a good letter of application contain, and what should it leave out?",
]

TRANSLATION = [f"Translate this text into {language}. Answer with the translation only.\n\n{text}"
               for language, text in zip(("French", "German", "Spanish", "Italian") * 2, _TEXTS)]

JSON = ["List all facts of this text as a JSON object with the members \"topic\" (a string), \"facts\" (an "
        "array of objects with \"subject\", \"statement\" and \"number\"), and \"keywords\" (an array of "
        "strings).\n\n" + text for text in _TEXTS]

# By task: prompts, tokens an answer has at most, and fields that belong to the request.
TASKS = {
    "code": (CODE, 128, {}),
    "edit": (EDIT, 128, {}),
    "summary": (SUMMARY, 96, {}),
    "chat": (CHAT, 128, {}),
    "translation": (TRANSLATION, 96, {}),
    "json": (JSON, 128, {"response_format": {"type": "json_object"}}),
}
