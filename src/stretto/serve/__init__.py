"""An OpenAI-compatible server on the engine's scheduler: `stretto serve`.

    app.py       the routes, who may ask, and how what fails is told
    running.py   how it stops
    service.py   one engine for all requests: how many may be on their way, and what was counted
    answered.py  one request from its admission to the last byte, streamed or not; who goes away frees its rows
    fields.py    the fields of requests, and what each does here
    openapi.py   the same as a document for machines
    methods.py   which methods a request may name: none that names a file or a model
    inputs.py    the body of a response, said as one of a chat
    reply.py     answers as the API writes them, whole or in chunks: what all have in common,
    replies.py   those of chats and completions,
    responses.py and those of responses
    calls.py     text and calls of functions told apart as they come
    thinking.py  what is thought before an answer, as well
    tokens.py    what a token is written as, for log-probabilities
    errors.py    what is refused, as the API's error object
    metrics.py   counts and times in Prometheus' text form
    batch.py     requests from files, and the file of their answers: `stretto batch`
    sources.py   the files that hold them: lines, tables, folders
    cluster.py   Ray, for as long as a command needs it: `--ray`
    replicas.py  the server as a deployment of Ray Serve,
    affinity.py  where those that begin alike go to the same replica
    spread.py    a batch through Ray Data

The answer to a request does not depend on who else is served: every request is `Engine.submit`, and nothing here
decides about a token. Ray alone starts, finds and watches other processes and machines.
"""
