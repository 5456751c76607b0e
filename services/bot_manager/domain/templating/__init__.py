"""The language of templates: Jinja2's syntax, evaluated node by node under a budget.

    language    source → Jinja2's syntax tree, refused unless every node of it is one that is known here
    evaluation  tree and variables → text, each step paid for
    values      what a value may be, and how large
    filters     filters, tests and methods: pure ones only
    choosing    `choose("a", "b")`

Jinja2 compiles templates to Python; its sandbox keeps them from Python's objects, but not from using up time or memory, and a thread
that does cannot be stopped. So Jinja2 only parses here. What is supported means what it means in Jinja2; what could run away (macros,
includes, recursion, `**`, text times a number, format widths) does not exist, no value is larger than a post, and the number of steps is
bounded. Nothing reads a clock, draws at random, or reaches an attribute of a Python object.
"""
