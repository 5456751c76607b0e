"""The reference page: the OpenAPI document as HTML, rendered here, readable without scripts.

An overview, a page a service with the types it uses, and a page of all reasons for failures. Everything is made of the document
and the operations behind it; what a page says, the document says too.

    markup.py       Markdown of comments → HTML
    words.py        JSON Schemas → words
    curl.py         operations → commands to try
    fields.py       fields and types
    views.py        what the templates show
    pages.py        the pages, rendered when first asked for
"""
