"""Run small programs of a primitive in every order of ready things, with cancels at every await.

A *scenario* (`locks.py`, `queues.py`, ...) builds a few actors around one primitive. A *plan* says which
ready thing runs at each step, and who is cancelled when. A *side* says whose primitives, whose tasks and
which loop: on `loop.py`'s loop every order of the ready queue can be chosen; on our native loop the order
is moved by extra `sleep(0)` before each operation. `search.py` lists the plans, `world.py` judges each
run, and asyncio's own primitives are the oracle, violations included (`known.py`).

One run again: `PYTHONPATH=tests python -m explorer SCENARIO SIDE CHOICES CANCELS`.
"""
