"""The prompts of spec-bench: six tasks, five of each, written for it.

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

EDIT = [
    f"Rename the method take to remove and the attribute items to counts. Repeat the whole code with "
    f"this change and nothing else.\n\n```python\n{_STOCK}```",
    f"Change the element type from int to double everywhere. Repeat the whole code with this change and "
    f"nothing else.\n\n```c\n{_VECTOR}```",
    f"Rename user to account everywhere, also within names. Repeat the whole code with this change and "
    f"nothing else.\n\n```javascript\n{_ROUTES}```",
    f"Add type hints to every function. Repeat the whole code with this change and nothing else."
    f"\n\n```python\n{_STATS}```",
    f"Add a parameter encoding to both functions, handed to open. Repeat the whole code with this change "
    f"and nothing else.\n\n```python\n{_CONFIG}```",
]

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
]

SUMMARY = ["Summarise this text in four sentences, in its own words where you can:\n\n" + text
           for text in _TEXTS]

CHAT = [
    "What should I think about before I adopt a dog from a shelter? Explain in some detail.",
    "Tell me a short story about a lighthouse keeper who finds a letter in a bottle.",
    "How does a refrigerator work? Explain it to someone who knows no physics.",
    "I have two weeks in autumn and like mountains and old towns. Where could I go, and why?",
    "Why did people begin to write things down? Give me several reasons and examples.",
]

TRANSLATION = [f"Translate this text into {language}. Answer with the translation only.\n\n{text}"
               for language, text in zip(("French", "German", "Spanish", "Italian", "French"), _TEXTS)]

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
