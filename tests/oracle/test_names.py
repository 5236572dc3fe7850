#!/usr/bin/env python3
"""Answers of a real model hold what was asked when it names an object's members in another order than
the schema: no name is begun that has no good end, so no value is lost and none is under a made-up name.

usage: test_names.py SPECD      $SPECD_CODER is the 1.5B model of scripts/get-pair.sh
"""
import json
import os
import sys

import oracle

if not os.path.isfile(os.environ.get("SPECD_CODER", "")):
    oracle.skip("SPECD_CODER is not set")
Server = oracle.specd_server(sys.argv[1])

S, I = {"type": "string"}, {"type": "integer"}
QUESTIONS = [
    ({"name": S, "age": I, "city": S}, "Ada is 36 and lives in Oslo. Return JSON with the keys city, age, name."),
    ({"name": S, "age": I, "city": S}, "Ada is 36 and lives in Oslo. Extract it as JSON."),
    ({"title": S, "year": I, "author": S},
     "Book: 'Red Sand' by F. Holm, 1965. Return JSON with author, title and year."),
    ({"status": S, "error": S, "code": I},
     "The request failed with code 404 and error 'not found'. Return JSON with code, error, status."),
    ({"query": S, "limit": I, "offset": I},
     "Search for 'red shoes', first 10, offset 20. Return JSON with keys offset, limit, query."),
    ({"street": S, "zip": S, "country": S},
     "Address: Norway, 0150, Storgata 5. Return JSON: country, zip, street."),
    ({"min": I, "max": I, "unit": S},
     "Temperatures in celsius from 3 to 9. Return JSON with unit, max, min."),
    ({"question": S, "answer": S, "score": I},
     "Score 5. Question: sky colour? Answer: blue. Return JSON with score first, then answer, then question."),
]
OWN_IDEAS = 1  # of eight, where the schema is open: the model's, not the grammar's ("temperatures")


def ask(server, schema, question):
    reply = server.post("/v1/chat/completions", {
        "messages": [{"role": "user", "content": question}], "max_tokens": 80, "temperature": 0,
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}})
    return reply.json()["choices"][0]


def main():
    server, bad = Server("-m", os.environ["SPECD_CODER"], "-md", "lookup", "-c", "1024", "-np", "1"), 0
    for required in (False, True):
        for closed in (False, True):
            wrong = []
            for members, question in QUESTIONS:
                schema = {"type": "object", "properties": members, "required": list(members) if required else [],
                          "additionalProperties": not closed}
                choice = ask(server, schema, question)
                text = choice["message"]["content"]
                if choice["finish_reason"] != "stop" or set(json.loads(text)) != set(members):
                    wrong.append(text)
            kind = ("required" if required else "optional") + (" closed" if closed else " open")
            print(f"{kind}: {len(wrong)} of {len(QUESTIONS)} do not hold what was asked", *wrong, sep="\n  ")
            bad += len(wrong) > (0 if closed or required else OWN_IDEAS)
    server.stop()
    return bad > 0


sys.exit(main())
